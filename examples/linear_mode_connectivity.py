"""Barriers on the straight line between trained networks, and what fixed weights or a permutation change.

    python examples/linear_mode_connectivity.py

Digits, 64-64-64-10, 4 seeds: barriers of the test loss between all pairs of standard networks, of the same networks
with their units matched, and of W-asymmetric networks; and the figure ``linear_mode_connectivity.png``.
"""

import jax
import matplotlib.pyplot as plt
import numpy as np
from flax import linen as nn
from sklearn.datasets import load_digits

import asymjax


class Network(nn.Module):
    """Two hidden layers of 64 units."""

    @nn.compact
    def __call__(self, x):
        """Map x [rows, pixels] to logits [rows, classes]."""
        for width in (64, 64):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(10)(x)


def main(num_seeds=4, num_epochs=60, num_points=25, figure="linear_mode_connectivity.png"):
    """Train, measure, print, draw, and return the mean barrier of each kind of networks."""
    X, y = load_digits(return_X_y=True)
    X = (X / 8 - 1).astype(np.float32)
    train, test = (X[360:], y[360:]), (X[:360], y[:360])

    curves = {}
    for name, method in {"standard": asymjax.Standard(), "W-asymmetric": asymjax.WAsym()}.items():
        model = asymjax.from_flax(Network(), X[:2], method)
        swept = asymjax.train_sweep(jax.random.key(0), model, train, num_seeds=num_seeds, num_epochs=num_epochs)
        curves[name] = asymjax.barriers(model, swept.params, test, swept.frozen, num_points)
        if name == "standard":
            first = jax.tree.map(lambda leaf: leaf[0], swept.params)
            aligned = asymjax.align(model, first, swept.params, swept.frozen)
            curves["standard, aligned"] = asymjax.barriers(model, aligned.params, test, aligned.frozen, num_points)

    axes = plt.figure(figsize=(6, 3.5), layout="constrained").subplots()
    for name, found in curves.items():
        print(f"{name:18} barrier of the test loss {found['maximum'].mean():.3f} nats (mean over pairs)")
        axes.plot(np.linspace(0, 1, num_points), found["loss"].mean(axis=0), label=name)
    axes.set(xlabel="position on the straight path between two networks", ylabel="test loss (nats)")
    axes.legend(frameon=False)
    plt.savefig(figure, dpi=150)
    return {name: float(found["maximum"].mean()) for name, found in curves.items()}


if __name__ == "__main__":
    main()
