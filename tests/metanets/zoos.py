"""Zoos in memory of networks that nobody trained, with targets that are known functions of their weights."""

import jax
import numpy as np

from asymjax import trees
from asymjax.metanets import Zoo
from asymjax.models import draw_frozen
from asymjax.models.config import ModelConfig

INPUTS, UNITS, OUTPUTS = 5, 4, 3


def make_zoo(num_networks, target, arch="standard", seed=0, **settings):
    """Return a zoo of 5-4-3 networks with standard normal weights; ``target`` (position) -> [network]."""
    settings = {"widths": (UNITS,), "norm": "none", "activation": "relu"} | settings
    model = ModelConfig.of(arch, **settings).build((INPUTS,), OUTPUTS)
    frozen = draw_frozen(model, 0)
    like, draw = jax.eval_shape(model.init, jax.random.key(0), frozen), np.random.default_rng(seed)
    position = jax.tree.map(lambda leaf: draw.normal(size=(num_networks, *leaf.shape)).astype(np.float32), like)
    scores = {"test.accuracy": np.asarray(target(trees.flatten(position)), float)}
    rate = draw.uniform(size=num_networks)
    return Zoo(model, frozen, position, scores, {"learning_rate": rate}, np.arange(num_networks), {})


def squared_norm(leaves):
    """Return the squared norm of the first kernel."""
    return np.sum(leaves["dense_0/kernel"] ** 2, axis=(1, 2))
