"""A way of breaking symmetries of your own: the weights of every unit on one input are fixed, to the steps of a ladder.

    python examples/my_method.py

A method is a frozen dataclass of its settings. Of each kernel it says which entries are frozen, at which values;
``Masked`` brings the rest. Units are told apart by their steps, so that permuting them is no longer a symmetry.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from sklearn.datasets import load_digits

import asymjax
from asymjax.models.methods.w_asym import Masked, pack


@dataclass(frozen=True)
class Ladder(Masked):
    """Fix the weights on one input at evenly spaced values."""

    note: ClassVar[str] = "The fixed weight of each unit tells it from the others."

    height: float = 1.0
    """The largest fixed weight."""

    def freeze_kernel(self, key, kernel, fixed_scale):
        """Return which entries of a kernel are fixed, and at what."""
        fan_in, num_units = kernel.layer.fan_in, kernel.layer.num_units
        if fan_in < 2:
            return None  # Nothing would be left to train.
        steps = fixed_scale * self.height * jnp.linspace(-1.0, 1.0, num_units)
        row = jax.random.randint(key, (), 0, fan_in)
        is_fixed = jnp.broadcast_to(jnp.arange(fan_in)[:, None] == row, (fan_in, num_units))
        value = jnp.broadcast_to(steps, (fan_in, num_units))
        # Methods see [layers, inputs, units]; a kernel may have its axes in another order.
        return pack(kernel.from_view(is_fixed[None]), kernel.from_view(value[None]), num_units)


class Network(nn.Module):
    """Two hidden layers of 32 units."""

    @nn.compact
    def __call__(self, x):
        """Map x [rows, pixels] to logits [rows, classes]."""
        for width in (32, 32):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(10)(x)


def main(num_seeds=3, num_epochs=40):
    """Train standard networks and ladders, and return the mean barrier of each."""
    X, y = load_digits(return_X_y=True)
    X = (X / 8 - 1).astype(np.float32)
    found = {}
    for method in (asymjax.Standard(), Ladder(height=2.0)):
        model = asymjax.from_flax(Network(), X[:2], method)
        swept = asymjax.train_sweep(
            jax.random.key(0), model, (X[360:], y[360:]), num_seeds=num_seeds, num_epochs=num_epochs
        )
        paths = asymjax.barriers(model, swept.params, (X[:360], y[:360]), swept.frozen)
        found[type(method).__name__] = float(paths["maximum"].mean())
        num_trained = sum(leaf.size for leaf in jax.tree.leaves(swept.position)) // num_seeds
        print(f"{method}: {num_trained:,} trained entries, mean barrier {paths['maximum'].mean():.3f} nats")
    return found


if __name__ == "__main__":
    main()
