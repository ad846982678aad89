# %% [markdown]
# # Train a sweep and look at its symmetries
#
# The hidden units of a network can be put in another order without changing its function. This tutorial shows such a
# symmetry, trains a few networks from different initial weights, and measures what the symmetry does to the straight
# path between two of them. It then removes the symmetry and trains again.
#
# You need a little NumPy and Flax. Everything runs in memory.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
from flax import linen as nn
from sklearn.datasets import load_digits

import asymjax

# %% [markdown]
# ## Data and network
#
# The digits of scikit-learn are images of 8 x 8 pixels in ten classes. The first 360 rows are kept for testing.

# %%
X, y = load_digits(return_X_y=True)
X = (X / 8 - 1).astype(np.float32)
X_train, y_train, X_test, y_test = X[360:], y[360:], X[:360], y[:360]


class Network(nn.Module):
    """Two hidden layers of 64 units."""

    @nn.compact
    def __call__(self, x):
        """Map x [rows, pixels] to logits [rows, classes]."""
        for width in (64, 64):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(10)(x)


# %% [markdown]
# `from_flax` makes a *model* of the network: pure functions over two trees of arrays. `position` holds what is trained,
# and `frozen` what the method fixed. `merge` puts them together into `params`, the weights that the network reads.
# [Concepts](../concepts.md) has a picture of this. The second argument is an example of the inputs.

# %%
standard = asymjax.from_flax(Network(), X[:2])

# %% [markdown]
# ## The symmetries
#
# `describe_symmetries` reads the network's computation and prints what it found.

# %%
print(asymjax.describe_symmetries(standard, X[:2]))

# %% [markdown]
# Each line is a group of units whose order is arbitrary. Try it: draw initial weights, reverse the units of the first
# layer, and reverse the rows of the next layer's kernel in the same way.

# %%
params = jax.tree.map(np.asarray, standard.init(jax.random.key(0), {}))
permuted = jax.tree.map(np.copy, params)
permuted["Dense_0"]["kernel"] = params["Dense_0"]["kernel"][:, ::-1]
permuted["Dense_0"]["bias"] = params["Dense_0"]["bias"][::-1]
permuted["Dense_1"]["kernel"] = params["Dense_1"]["kernel"][::-1]

outputs, of_permuted = standard.forward(params, {}, X_test), standard.forward(permuted, {}, X_test)
print(f"largest change of a weight  {np.abs(permuted['Dense_0']['kernel'] - params['Dense_0']['kernel']).max():.2f}")
print(f"largest change of an output {np.abs(of_permuted - outputs).max():.1e}")

# %% [markdown]
# The weights are others and the function is the same, up to rounding.
#
# ## Train a sweep
#
# `train_sweep` trains several networks side by side, each from initial weights of its own. The result has a leading
# axis for the networks.

# %%
NUM_SEEDS, NUM_EPOCHS = 4, 60


def train(model):
    """Train networks of a model and print their test accuracy."""
    swept = asymjax.train_sweep(
        jax.random.key(0), model, (X_train, y_train), num_seeds=NUM_SEEDS, num_epochs=NUM_EPOCHS, show_progress=False
    )
    logits = np.asarray(jax.vmap(model.forward, (0, None, None))(swept.params, swept.frozen, X_test))
    print("test accuracy of each network", np.mean(logits.argmax(-1) == y_test, axis=1).round(3))
    return swept


swept = train(standard)

# %%
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.semilogy(swept.epochs, swept.losses.T)
ax.set(xlabel="epoch", ylabel="training loss (nats)", title="One line a network")
plt.show()

# %% [markdown]
# ## The path between two networks
#
# `barriers` measures the loss on the straight path between every pair of networks. A *barrier* is the largest rise of
# the loss above the straight line between the losses at both ends.
#
# Independent networks have their units in different orders, so the average of two networks mixes units that have
# nothing to do with each other. `align` permutes the units of each network to match those of the first. It changes no
# function, as long as its `frozen` goes along: where a method has gates, they are permuted too.

# %%
NUM_POINTS = 15

test = (X_test, y_test)
first = jax.tree.map(lambda leaf: leaf[0], swept.params)
aligned = asymjax.align(standard, first, swept.params, swept.frozen)
paths = {
    "standard": asymjax.barriers(standard, swept.params, test, swept.frozen, NUM_POINTS),
    "standard, aligned": asymjax.barriers(standard, aligned.params, test, aligned.frozen, NUM_POINTS),
}
for name, found in paths.items():
    print(f"{name:18} barrier of the test loss {found['maximum'].mean():.3f} nats, mean of {len(found['pairs'])} pairs")

# %% [markdown]
# ## Remove the symmetry
#
# A *W-asymmetric* network fixes some of the weights of each unit at random values, which are never trained. Each unit
# has another set of fixed inputs, so units can no longer change places. All networks of a sweep share what is fixed.

# %%
w_asym = asymjax.from_flax(Network(), X[:2], asymjax.WAsym())
fixed = train(w_asym)
for name, tree in {"standard": swept.position, "W-asymmetric": fixed.position}.items():
    print(f"{name:12} trained weights of a network: {sum(leaf[0].size for leaf in jax.tree.leaves(tree)):,}")

# %%
paths["W-asymmetric"] = asymjax.barriers(w_asym, fixed.params, test, fixed.frozen, NUM_POINTS)

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, found in paths.items():
    print(f"{name:18} barrier of the test loss {found['maximum'].mean():.3f} nats")
    ax.plot(np.linspace(0, 1, NUM_POINTS), found["loss"].mean(axis=0), label=name)
ax.set(xlabel="place on the straight path", ylabel="test loss (nats), mean over pairs")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Standard networks have the highest barrier, and aligning them lowers it. W-asymmetric networks have a lower
# one than standard networks as trained, without alignment.
#
# This does not show that the missing symmetry is the cause: all W-asymmetric networks of a sweep also share a part of
# their weights. [Linear mode connectivity](../connectivity.md) has controls for that, and a larger data set.
#
# ## Go on
#
# - [Sweeps](../sweeps.md) of many networks and settings, with a run directory.
# - [Sample two posteriors and compare them](two_posteriors.py).
# - [Your own network and data](your_own.py).
# - The [reference](../reference/index.md) has every public name.
