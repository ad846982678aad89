# %% [markdown]
# # Your own network and data
#
# asymjax takes any Flax network and any arrays. This tutorial brings a small residual network and a table of raw
# numbers. It reads the symmetries of the network, makes a version with fewer of them, samples the posterior of that,
# and predicts with error bars.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
from flax import linen as nn
from sklearn.datasets import load_diabetes

import asymjax

# %% [markdown]
# ## Your data
#
# Two NumPy arrays with a row for each example. Here they are measurements of patients in their raw units, and a score
# of the progress of diabetes a year later. The last 100 rows are kept for testing.

# %%
X, y = load_diabetes(return_X_y=True, scaled=False)
X_train, y_train, X_test, y_test = X[:-100], y[:-100], X[-100:], y[-100:]
print("inputs", X_train.shape, "targets", y_train.shape)
print("first row", X_train[0], "->", y_train[0])

# %% [markdown]
# ## Your network
#
# Any Linen module that maps rows to outputs. `asymjax.Activation` marks the activations that a method may replace. It
# computes what the function inside it computes.


# %%
class Residual(nn.Module):
    """An embedding, one residual block and a linear output."""

    @nn.compact
    def __call__(self, x):
        """Map x [rows, features] to the mean of the target [rows, 1]."""
        x = nn.Dense(12, name="embed")(x)
        inner = nn.Dense(16, name="up")(nn.LayerNorm(name="norm")(x))
        inner = asymjax.Activation(nn.gelu, name="gelu")(inner)
        x = x + nn.Dense(12, name="down")(inner)
        return nn.Dense(1, name="out")(x)


example = X_train[:2].astype(np.float32)
plain = asymjax.from_flax(Residual(), example)

# %% [markdown]
# `from_flax` reads from the computation what each parameter does. Nothing about the network has to be declared. If the
# network is no pure function of its rows (dropout, batch statistics), it raises an `InputError` that names the cause.

# %%
for path, layer in plain.layers.items():
    print(f"{path:14} {layer.shape!s:10} {layer.role}")

# %% [markdown]
# ## Its symmetries

# %%
print(asymjax.describe_symmetries(plain, X_test.astype(np.float32)))

# %% [markdown]
# Two groups of units can be permuted: the features of the residual stream, which `embed` and `down` both write, and the
# hidden units of the block. `describe_symmetries` describes the network as it is; permutations go through the sum and
# the norm.
#
# ## A version with fewer symmetries
#
# A method is the third argument. `SigmaAsym` replaces the marked activation by a *gate*, which mixes its features
# through a frozen random matrix. The gate ties each hidden unit to its place. `WAsym` would fix some of the weights
# instead, and needs no `Activation`.

# %%
model = asymjax.from_flax(Residual(), example, asymjax.SigmaAsym())
frozen = model.freeze(jax.random.key(0))
position = model.init(jax.random.key(1), frozen)
for name, tree in {"trained (position)": position, "fixed (frozen)": frozen}.items():
    print(f"{name:20} {sum(leaf.size for leaf in jax.tree.leaves(tree)):,} numbers")

# %% [markdown]
# Check it by hand: permute the hidden units, in `up` and in `down`, and compare outputs.

# %%
order = np.random.default_rng(0).permutation(16)


def permute(params):
    """Put the hidden units of the block in another order."""
    params = jax.tree.map(np.array, params)
    params["up"] = {"kernel": params["up"]["kernel"][:, order], "bias": params["up"]["bias"][order]}
    params["down"]["kernel"] = params["down"]["kernel"][order]
    return params


standardised = ((X_test - X_train.mean(0)) / X_train.std(0)).astype(np.float32)
networks = {
    "plain": (plain, plain.init(jax.random.key(1), {}), {}),
    "with a gate": (model, model.merge(position, frozen), frozen),
}
for name, (network, params, constants) in networks.items():
    outputs = network.forward(params, constants, standardised)
    change = np.abs(network.forward(permute(params), constants, standardised) - outputs).max()
    print(f"{name:12} largest change of an output {change:.1e}, spread of the outputs {outputs.std():.2f}")

# %% [markdown]
# ## The posterior
#
# `make_posterior` takes raw arrays with `standardise=True`: it standardises inputs and targets by the training rows,
# and predictions come back in the units of `y`. With a likelihood of `Gaussian("learned")` the scale of the noise is
# one more parameter.

# %%
posterior = asymjax.make_posterior(
    model, (X_train, y_train), likelihood=asymjax.Gaussian("learned"), standardise=True, frozen=frozen
)
result = asymjax.sample(
    jax.random.key(0),
    posterior,
    sampler=asymjax.HMC(num_warmup=100, max_integration_steps=64),
    num_chains=4,
    num_draws=200,
    start=asymjax.Start(map_steps=500),
    show_progress=False,
)
predictions = result.predict(X_test)  # In the units of y.
rhat, ess = asymjax.rhat(predictions), asymjax.ess(predictions)
print("predictions", predictions.shape, "[chain, draw, row, target]")
print(f"R-hat of predictions at most {rhat.max():.3f}, ESS at least {ess.min():.0f} of 800 draws")
print("divergences", result.draws["is_divergent"].sum())

# %% [markdown]
# ## Predictions with error bars
#
# Each draw is a network with a mean and a noise scale. Adding noise of that scale to its mean gives a draw of a new
# target. The learned scale is `position["noise"]["log_scale"]`, in standardised units, so it is multiplied by the
# standard deviation of the training targets.

# %%
noise_scale = np.exp(result.position["noise"]["log_scale"])[:, :, None] * y_train.std()
noise = np.random.default_rng(0).normal(size=predictions.shape[:3])
new_targets = predictions[..., 0] + noise_scale * noise  # [chain, draw, row]
mean = predictions.mean(axis=(0, 1, 3))
low, high = np.quantile(new_targets, [0.05, 0.95], axis=(0, 1))

print(f"noise scale             {noise_scale.mean():6.1f}")
print(f"root mean square error  {np.sqrt(np.mean((mean - y_test) ** 2)):6.1f}")
print(f"that of the mean of y   {np.sqrt(np.mean((y_train.mean() - y_test) ** 2)):6.1f}")
print(f"inside the 90 % interval {np.mean((low < y_test) & (y_test < high)):5.2f} of the test rows")

# %%
by_mean = np.argsort(mean)
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.fill_between(np.arange(100), low[by_mean], high[by_mean], color="C0", alpha=0.2, label="90 % interval")
ax.plot(mean[by_mean], color="C0", label="posterior mean")
ax.plot(y_test[by_mean], ".", color="C1", label="target")
ax.set(xlabel="test rows, by predicted mean", ylabel="progress of diabetes")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Go on
#
# - [Any Flax network](../concepts.md#any-flax-network): NNX modules, several inputs, attention, and what is refused.
# - `asymjax.find_symmetries` reads any JAX function of parameters; see the [reference](../reference/index.md).
# - [Sample two posteriors and compare them](two_posteriors.py).
# - [Adding](../../ADDING.md) a method, a sampler or a data set of your own to the command line.
