"""Models of tests that go through many methods and backbones, and positions of them without a program that draws."""

import jax
import numpy as np

from asymjax import trees
from asymjax.models.config import BACKBONES, METHODS, ModelConfig
from asymjax.settings import kinds_of


def model_of(arch="standard", backbone="mlp", **settings):
    """Return a model, with those of the settings that its method and its backbone have."""
    known = kinds_of(METHODS[arch]) | kinds_of(BACKBONES[backbone]) | {"mask_seed": int}
    return ModelConfig.of(arch=arch, backbone=backbone, **{name: v for name, v in settings.items() if name in known})


def drawn_position(model, frozen, seed=0):
    """Return a position of about the size of a fresh one, drawn by NumPy; norms are away from one and zero."""
    generator = np.random.default_rng(seed)
    shapes = trees.flatten(jax.eval_shape(model.init, jax.random.key(0), frozen))
    whole = trees.flatten(model.params_shape)

    def draw(path, shape):
        if "norm" in path:
            return path.endswith("scale") + generator.standard_normal(shape, "float32") / 3
        bound = 0.2 if path.endswith("bias") else np.prod(whole[path].shape[:-1]) ** -0.5
        return generator.uniform(-bound, bound, shape).astype("float32")

    return trees.unflatten({path: draw(path, leaf.shape) for path, leaf in shapes.items()})
