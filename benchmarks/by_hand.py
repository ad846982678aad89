"""The training step of the sweep benchmark as one would write it for this network alone, in Flax and Optax.

What ``bench_train_sweep.py`` compares with: no library, no resuming, no order of the rows; a scan over given batches,
one network after the other on each device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

WIDTHS = (512, 512, 512)


class Network(nn.Module):
    """784-512-512-512-10 with LayerNorm, and GELU or a gate through ``gates``."""

    gates: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits [rows, 10] of x [rows, 784]."""
        for i, width in enumerate(WIDTHS):
            x = nn.LayerNorm()(nn.Dense(width)(x))
            x = nn.gelu(x) if self.gates is None else nn.sigmoid(x @ self.gates[i]) * x
        return nn.Dense(10)(x)


def make_call(arch: str, num_seeds: int, num_devices: int, num_steps: int) -> Callable[[], Any]:
    """Return a call that trains ``num_seeds`` networks for ``num_steps`` steps of 64 random images."""
    key = jax.random.key(0)
    gates = [jax.random.normal(jax.random.fold_in(key, i), (w, w)) for i, w in enumerate(WIDTHS)]
    network = Network(gates if arch == "sigma_asym" else None)
    images = jax.random.normal(key, (num_steps, 64, 784))
    labels = jax.random.randint(key, (num_steps, 64), 0, 10)
    optimizer = optax.adamw(1e-3, weight_decay=0.03)

    def fixed(path: Any, leaf: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Fix 1/8 of a kernel (1/2 of the last), by a dense mask as in the papers' code."""
        share = 0.0 if leaf.ndim < 2 or arch != "w_asym" else (0.5 if leaf.shape[1] == 10 else 0.125)
        return jax.random.uniform(key, leaf.shape) >= share, 0.5 * jax.random.normal(key, leaf.shape)

    def loss(params: Any, frozen: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        if arch == "w_asym":
            params = jax.tree.map(lambda p, mask, value: jnp.where(mask, p, value), params, *frozen)
        logits = network.apply({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def train(state: Any, frozen: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        def step(state: Any, batch: Any) -> tuple[Any, jax.Array]:
            params, moments = state
            value, grad = jax.value_and_grad(loss)(params, frozen, *batch)
            updates, moments = optimizer.update(grad, moments, params)
            return (optax.apply_updates(params, updates), moments), value

        return lax.map(lambda one: lax.scan(step, one, (images, labels)), state)

    params = jax.vmap(lambda key: network.init(key, images[0])["params"])(jax.random.split(key, num_seeds))
    state = params, jax.vmap(optimizer.init)(params)
    pairs = jax.tree_util.tree_map_with_path(fixed, jax.tree.map(lambda leaf: leaf[0], params))
    frozen = tuple(jax.tree.map(lambda p, i=i: p[i], pairs, is_leaf=lambda p: isinstance(p, tuple)) for i in range(2))
    mesh = Mesh(np.asarray(jax.devices()[:num_devices]), ("seed",))
    split, shared = PartitionSpec("seed"), PartitionSpec()
    mapped = jax.shard_map(train, mesh=mesh, in_specs=(split, shared, shared, shared), out_specs=split, check_vma=False)
    compiled = jax.jit(mapped, donate_argnums=0)
    held = {"state": jax.device_put(state, NamedSharding(mesh, split))}

    def call() -> Any:
        held["state"], losses = compiled(held["state"], frozen, images, labels)
        return losses

    return call
