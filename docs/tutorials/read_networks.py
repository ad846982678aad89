# %% [markdown]
# # Networks that read networks
#
# How good is a network? Its weights know, but they say it in an order of units that is arbitrary. This tutorial trains
# a small *zoo* of networks, and predicts the test accuracy of each: from how it was trained, from all its weights as a
# vector, and from its weights by a reader that knows that units have no order.
#
# It takes less than a minute on two cores.

# %%
import jax
import matplotlib.pyplot as plt
from flax import linen as nn

import asymjax
from asymjax import data, metanets

# %% [markdown]
# ## A zoo
#
# Four hundred networks with 16 hidden units, on the digits of scikit-learn. Each has an initialisation, an order of the
# rows and a recipe of its own: learning rate, decay, smoothing and number of epochs are drawn. On the command line this
# is `python runs/zoo.py --num-networks 400`. In place of a data set there may be arrays, `(X, y)` and `test=(X, y)`.

# %%
digits = data.load("digits")
module = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(16), nn.relu, nn.Dense(10)])
model = asymjax.from_flax(module, digits.train.inputs[:2])
zoo = asymjax.train_zoo(jax.random.key(0), model, digits, num_networks=400, show_progress=False)
accuracy = zoo.target("test.accuracy")
print(f"{zoo.num_networks} networks, accuracy {accuracy.mean():.3f} +- {accuracy.std():.3f}")
print("drawn for each:", ", ".join(zoo.recipes))

# %% [markdown]
# ## Three readers
#
# `fit` trains a metanetwork on half of the networks, takes the epoch and the learning rate that do best on a quarter,
# and predicts all. The last quarter was seen by none. Kendall's tau tells how well the order of networks is predicted.

# %%
config = metanets.FitConfig(num_epochs=60, batch_size=32, learning_rates=(0.003,), num_trials=1, num_seeds=2)
readers = {
    "recipe alone, without weights": metanets.Recipe(),
    "all weights as one vector": metanets.FlatMLP(),
    "units in no order": metanets.HNP(),
}
predictions = {}
for name, reader in readers.items():
    found = metanets.fit(zoo, reader, config=config)
    test = found.parts.test
    predictions[name] = found.predictions.mean(axis=0)[test]
    print(f"{name:30s} tau {metanets.score(accuracy[test], predictions[name]).tau:.2f}")

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True)
for axes, (name, values) in zip(panels, predictions.items(), strict=True):
    axes.plot(accuracy[test], values, ".", alpha=0.6)
    axes.plot([accuracy.min(), 1], [accuracy.min(), 1], "k", linewidth=0.5)
    axes.set(title=name, xlabel="test accuracy", ylim=(accuracy.min(), 1.05))
panels[0].set_ylabel("predicted")
figure.tight_layout()

# %% [markdown]
# The vector of all weights is read poorly: what unit 3 of one network does, unit 11 of another may do. The reader that
# knows this has the same prediction for all orders of units. The recipe alone says much, too: what a metanetwork finds
# is worth as much as it has beyond that.
#
# Next: a zoo whose networks share a frame, `--start shared`, or have no symmetry, `--arch w_asym`, and what the same
# readers make of them: [Networks that read networks](../metanets.md).
