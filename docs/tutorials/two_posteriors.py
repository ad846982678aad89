# %% [markdown]
# # Sample two posteriors and compare them
#
# A Bayesian network is a distribution over networks: the *posterior* of the weights given the data. This tutorial
# samples the posterior of a standard network and that of a W-asymmetric one by Hamiltonian Monte Carlo. It asks of
# both whether the chains agree, in *function space* (what the networks predict) and in *weight space*, and how good
# the predictions are.

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
# Digits 0 to 4 of scikit-learn, 300 of them to train, and a network with one hidden layer of 16 units: small,
# so that sampling is quick.

# %%
NUM_TRAIN = 300
X, y = load_digits(n_class=5, return_X_y=True)
order = np.random.default_rng(0).permutation(len(X))
X, y = (X[order] / 8 - 1).astype(np.float32), y[order]
X_test, y_test = X[NUM_TRAIN:], y[NUM_TRAIN:]


class Network(nn.Module):
    """One hidden layer of 16 units."""

    @nn.compact
    def __call__(self, x):
        """Map x [rows, pixels] to logits [rows, classes]."""
        return nn.Dense(5)(nn.tanh(nn.Dense(16)(x)))


models = {
    "standard": asymjax.from_flax(Network(), X[:2]),
    "W-asymmetric": asymjax.from_flax(Network(), X[:2], asymjax.WAsym()),
}

# %% [markdown]
# ## Sample
#
# `make_posterior` joins a model with data. Class labels are integers, so the likelihood is categorical. The prior of a
# kernel is Gaussian, with a standard deviation of one over the square root of its fan-in; that of the last kernel is
# wider, because labels are nearly certain. [`NormalPrior`](../reference/index.md#asymjax.NormalPrior) has the numbers.
#
# `sample` first trains one network for each chain, to be scored beside the posterior, and finds where chains start;
# then it tunes the sampler (*warmup*), then draws.

# %%
draws = {}
for name, model in models.items():
    posterior = asymjax.make_posterior(model, (X[:NUM_TRAIN], y[:NUM_TRAIN]))
    draws[name] = asymjax.sample(
        jax.random.key(0),
        posterior,
        sampler=asymjax.HMC(num_warmup=100, max_integration_steps=64),
        num_chains=4,
        num_draws=200,
        start=asymjax.Start(map_steps=500),
        show_progress=False,
    )
    taken = draws[name].draws
    print(
        f"{name:12} acceptance rate {taken['acceptance_rate'].mean():.2f}, {taken['is_divergent'].sum()} divergences,"
        f" {taken['num_grad_evals'].sum():,.0f} gradients after warmup"
    )

# %% [markdown]
# `position` holds the draws of the trained weights: each array has the axes chain, draw, and those of the weight.
# `predict` returns what each draw predicts, here the probability of each class.

# %%
for path, leaf in jax.tree.leaves_with_path(draws["standard"].position):
    print(jax.tree_util.keystr(path), leaf.shape)
probabilities = {name: result.predict(X_test) for name, result in draws.items()}
print("predictions", probabilities["standard"].shape, "[chain, draw, row, class]")

# %% [markdown]
# ## Do the chains agree?
#
# *R-hat* compares the spread between chains with the spread within them. It is near 1 where the chains agree; a common
# rule asks for less than 1.01. The *effective sample size* (ESS) is how many independent draws would be worth as much
# as these. Both are computed for every coordinate: for every class probability of every test row, and for every
# trained weight.


# %%
def flat(position):
    """Return all weights side by side [chain, draw, weight]."""
    return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(position)], axis=-1)


spaces = {
    name: {"function space": probabilities[name].reshape(4, 200, -1), "weight space": flat(draws[name].position)}
    for name in draws
}
print(f"{'':30}{'R-hat':>16}{'ESS of 800 draws':>20}")
print(f"{'':30}{'median':>8}{'max':>8}{'median':>12}{'min':>8}")
rhats = {}
for name, of_network in spaces.items():
    for space, values in of_network.items():
        rhat, ess = asymjax.rhat(values), asymjax.ess(values)
        rhats[name, space] = rhat
        print(f"{name:14}{space:16}{np.median(rhat):8.3f}{rhat.max():8.3f}{np.median(ess):12.0f}{ess.min():8.0f}")

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained", sharey=True)
for ax, space in zip(axes, ("function space", "weight space"), strict=True):
    for name in draws:
        values = np.sort(rhats[name, space])
        ax.plot(values, np.linspace(0, 1, len(values)), label=name)
    ax.axvline(1.01, color="0.6", linewidth=1)
    ax.set(title=space, xlabel="R-hat")
axes[0].set_ylabel("share of coordinates below")
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# The grey line is at 1.01. Read both panels together. The units of a standard network can be permuted, so two chains
# can hold the same functions at different weights: weight space alone cannot tell whether the posterior was sampled
# well. Function space has no such copies, so it is the one to trust for predictions.
#
# A few hundred draws of one seed are a demonstration. [What asymmetry does to sampling](../posteriors.md) repeats the
# comparison with five methods, intervals and a check with other seeds.
#
# ## How good are the predictions?
#
# The prediction of a posterior is the mean over its draws. The *log pointwise predictive density* (LPPD) is the mean
# log probability of the true class of the test rows; higher is better. Beside it stands the mean of the single
# networks, draw by draw.

# %%
rows = np.arange(len(y_test))
for name, p in probabilities.items():
    mean = p.mean(axis=(0, 1))
    single = np.log(p[:, :, rows, y_test]).mean()
    print(
        f"{name:12} posterior: LPPD {np.log(mean[rows, y_test]).mean():.3f}, accuracy"
        f" {np.mean(mean.argmax(-1) == y_test):.3f}; single draws: mean log probability {single:.3f}"
    )

# %% [markdown]
# The posterior is never worse than the mean of its draws: the logarithm is concave. To compare two methods, repeat both
# with several seeds and take paired differences, as [the study](../posteriors.md) does.
#
# ## Go on
#
# - [Samplers](../samplers.md): NUTS, microcanonical and minibatch samplers are arguments of `sample`, as
#   `sampler=asymjax.NUTS()`.
# - `draws["standard"].to_datatree()` is what ArviZ reads: see [Concepts](../concepts.md#in-memory).
# - [The main job](../main-job.md): a posterior, with a run directory that survives an interruption.
# - [Your own network and data](your_own.py).
