"""Models of tests that go through many methods and backbones, and constants and positions of them drawn by NumPy.

Most tests need some constants and some position, not those that the model draws, whose programs take long to compile.
"""

from collections import defaultdict

import jax
import numpy as np

from asymjax import trees
from asymjax.models.config import BACKBONES, METHODS, ModelConfig
from asymjax.settings import kinds_of


def model_of(arch="standard", backbone="mlp", **settings):
    """Return a model, with those of the settings that its method and its backbone have."""
    known = kinds_of(METHODS[arch]) | kinds_of(BACKBONES[backbone]) | {"mask_seed": int}
    return ModelConfig.of(arch=arch, backbone=backbone, **{name: v for name, v in settings.items() if name in known})


def drawn_constants(model, seed=0, scale=1.0):
    """Return constants like those of ``model.freeze``, the same in every NumPy; of pruned networks at scale zero."""
    generator, drawn = np.random.RandomState(seed), {}
    shapes = defaultdict(dict)
    for path, leaf in trees.flatten(jax.eval_shape(model.freeze, jax.random.key(0))).items():
        shapes[path.rpartition("/")[0]][path.rpartition("/")[2]] = leaf.shape

    def normal(shape, factor):
        return np.float32(scale * factor * generator.standard_normal(shape))

    for path, of_one in shapes.items():
        if "source_index" in of_one:
            is_fixed = drawn_mask(of_one["source_index"], *of_one["free_index"], generator)
            values = np.where(is_fixed, normal(is_fixed.shape, 0.5), np.float32(0))
            drawn[path] = {"fixed_value": values} | indices(is_fixed)
        elif "offset" in of_one:
            drawn[path] = {"offset": normal(of_one["offset"], np.prod(of_one["offset"][:-1]) ** -0.5)}
        else:  # A gate, or fixed biases.
            drawn[path] = {name: normal(shape, 1.0) for name, shape in of_one.items()}
    return trees.unflatten(drawn)


def drawn_mask(shape, num_free, generator):
    """Return which entries of a kernel are fixed: as many of each unit, the last axis, and no two units alike."""
    num_inputs, num_units = np.prod(shape[:-1]), shape[-1]
    count, rest = divmod(num_inputs * num_units - num_free, num_units)
    assert rest == 0
    chosen = {}
    while len(chosen) < num_units:
        subset = np.sort(generator.permutation(num_inputs)[:count])
        chosen[subset.tobytes()] = subset
    is_fixed = np.zeros((num_inputs, num_units), bool)
    for unit, subset in enumerate(chosen.values()):
        is_fixed[subset, unit] = True
    return is_fixed.reshape(shape)


def indices(is_fixed):
    """Return where the free entries of a kernel are, and where in the leaf they come from."""
    free_index = np.flatnonzero(~is_fixed).astype("int32")
    source_index = np.full(is_fixed.size, len(free_index), "int32")
    source_index[free_index] = np.arange(len(free_index))
    return {"free_index": free_index, "source_index": source_index.reshape(is_fixed.shape)}


def drawn_position(model, frozen, seed=0):
    """Return a position of about the size of a fresh one; norms are away from one and zero."""
    generator = np.random.default_rng(seed)
    shapes = trees.flatten(jax.eval_shape(model.init, jax.random.key(0), frozen))
    whole = trees.flatten(model.params_shape)

    def draw(path, shape):
        if "norm" in path:
            return path.endswith("scale") + generator.standard_normal(shape, "float32") / 3
        bound = 0.2 if path.endswith("bias") else np.prod(whole[path].shape[:-1]) ** -0.5
        return generator.uniform(-bound, bound, shape).astype("float32")

    return trees.unflatten({path: draw(path, leaf.shape) for path, leaf in shapes.items()})
