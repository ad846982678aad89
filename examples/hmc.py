"""Sample the posterior of a network on arrays of your own, in one call, and see whether to trust it.

    python examples/hmc.py

Regression on diabetes: a 2x16 network, 4 chains, R-hat and ESS of its predictions, and predictions on new raw inputs.
"""

import jax
import numpy as np
from flax import linen as nn
from sklearn.datasets import load_diabetes

import asymjax

NUM_TEST = 100


class Network(nn.Module):
    """Two hidden layers of 16 units."""

    @nn.compact
    def __call__(self, x):
        """Map x [rows, features] to the mean and the raw noise scale of one target [rows, 2]."""
        for width in (16, 16):
            x = nn.tanh(nn.Dense(width)(x))
        return nn.Dense(2)(x)


def main(num_warmup=200, num_draws=500, map_steps=2000, show_progress=True):
    """Sample, print what the posterior is worth, and return R-hat of the predictions [row, target]."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X, y, X_new, y_new = X[NUM_TEST:], y[NUM_TEST:], X[:NUM_TEST], y[:NUM_TEST]

    model = asymjax.from_flax(Network(), X[:2].astype(np.float32))
    likelihood = asymjax.Gaussian(noise="heteroscedastic")
    posterior = asymjax.make_posterior(model, (X, y), likelihood=likelihood, standardise=True)
    result = asymjax.sample(
        jax.random.key(0),
        posterior,
        sampler=asymjax.HMC(num_warmup=num_warmup),
        num_chains=4,
        num_draws=num_draws,
        start=asymjax.Start(map_steps=map_steps),
        show_progress=show_progress,
    )

    predictions = result.predict(X_new)  # [chain, draw, row, target], in the units of y
    mean = predictions.mean(axis=(0, 1))[:, 0]
    rhat, ess = asymjax.rhat(predictions), asymjax.ess(predictions)
    print(f"root mean square error {np.sqrt(np.mean((mean - y_new) ** 2)):.1f}, of the mean of y {y_new.std():.1f}")
    print(f"R-hat of predictions at most {rhat.max():.3f}, bulk ESS at least {ess.min():.0f}")
    print(result.to_datatree())  # What arviz.summary and its plots read.
    return rhat


if __name__ == "__main__":
    main()
