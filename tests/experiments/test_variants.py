"""Variants: methods, controls, and settings that vary."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import data, rng, trees
from asymjax.errors import InputError
from asymjax.experiments.populations import trained_populations
from asymjax.experiments.setup import describe_network
from asymjax.experiments.variants import (
    CONTROLS,
    SAMPLING,
    TRAINING,
    Variant,
    VariantsConfig,
    make_variants,
    num_trainable,
)
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import open_run
from asymjax.models import Models, draw_frozen
from asymjax.models.backbones import MLP
from asymjax.rng import SeedConfig
from asymjax.train.optimizers import OptimizerConfig

MODELS, OPTIMIZER = Models(backbone=MLP((12, 8))), OptimizerConfig(num_epochs=2)
SMALL = Models(backbone=MLP((8,), norm="none"))
PLAIN, DATASET = Variant(MODELS.of("standard"), OPTIMIZER), data.load("digits")


def variants_of(archs=(), parts=TRAINING, **config):
    return make_variants(VariantsConfig(**config), replace(MODELS, archs=archs), PLAIN, parts, DATASET)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_methods_are_variants_of_their_own_names():
    variants = variants_of(("standard", "w_asym"))
    assert variants == {arch: replace(PLAIN, model=MODELS.of(arch)) for arch in ("standard", "w_asym")}


def test_a_setting_varies_where_it_matters():
    variants = variants_of(("standard", "w_asym", "syre"), vary="fixed_scale", values=(0.0, 0.5))
    names = ["w_asym-fixed_scale-0", "w_asym-fixed_scale-0.5", "syre-fixed_scale-0", "syre-fixed_scale-0.5"]
    assert list(variants) == ["standard", *names]
    assert [variants[name].model.method.fixed_scale for name in names] == [(0.0,), (0.5,), (0.0,), (0.5,)]
    assert variants["w_asym-fixed_scale-0.5"].varied == {"fixed_scale": 0.5} and not variants["standard"].varied


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("num_fixed", 0.25, lambda v: v.model.method.num_fixed == (0.25,)),
        ("num_fixed", 3.0, lambda v: v.model.method.num_fixed == (3,)),
        ("mask_seed", 5.0, lambda v: v.model.mask_seed == 5),
        ("width", 16.0, lambda v: v.model.backbone.widths == (16, 16)),
        ("learning_rate", 0.1, lambda v: v.optimizer.learning_rate == 0.1),
        ("warmup_steps", 10.0, lambda v: v.optimizer.warmup_steps == 10),
        ("num_epochs", 1.0, lambda v: v.optimizer.num_epochs == 1),
    ],
)
def test_settings_take_their_values(setting, value, found):
    (variant,) = variants_of(("w_asym",), vary=setting, values=(value,)).values()
    assert found(variant)


def test_posteriors_vary_in_settings_of_their_own():
    (variant,) = variants_of(("standard",), SAMPLING, vary="temperature", values=(0.5,)).values()
    assert variant.posterior.temperature == 0.5
    with pytest.raises(InputError, match="unknown setting 'num_epochs', choose from"):
        variants_of(("standard",), SAMPLING, vary="num_epochs", values=(0.5,))


@pytest.mark.parametrize(
    ("archs", "config", "message"),
    [
        (("wasym",), {}, "unknown arch 'wasym', choose from standard"),
        ((), {"controls": ("nothing",)}, "unknown control 'nothing', choose from different_masks"),
        ((), {}, "archs and controls are empty"),
        (("w_asym",), {"vary": "num_fixed"}, r"vary is num_fixed and values are \(\); give both or neither"),
        (("w_asym",), {"values": (1.0,)}, "give both or neither"),
        (("w_asym",), {"vary": "width", "values": (1.5,)}, "width is 1.5; give a whole number"),
        (("w_asym",), {"vary": "mask_seed", "values": (1.5,)}, "values has '1.5'; give a whole number"),
        (("standard",), {"vary": "gate_scale", "values": (1,)}, "gate_scale, which is a setting of sigma_asym, w_"),
    ],
)
def test_what_makes_no_variants_is_refused(archs, config, message):
    with pytest.raises(InputError, match=message):
        variants_of(archs, **config)


def test_small_standard_networks_have_as_many_entries_as_asymmetric_ones_or_just_fewer():
    models = Models(backbone=MLP((64, 64)))
    dataset = DATASET._replace(train=DATASET.train._replace(inputs=np.zeros((4, 16, 16, 1), "float32")))
    small = CONTROLS["small_standard"](models, PLAIN, dataset)

    def count(model):
        return num_trainable(model.build(dataset.input_shape, 10), 0)

    target = count(models.of("w_asym"))
    assert small.model.arch == "standard"
    assert 0.9 * target < count(small.model) <= target < count(models.of("standard"))


@pytest.fixture
def populations(tmp_path):
    """Return a function that prepares two networks of a control: (its population, () -> the networks, trained)."""

    def prepare(num_epochs, control):
        plain = Variant(SMALL.of("standard"), replace(OPTIMIZER, num_epochs=num_epochs))
        config = VariantsConfig(controls=(control,))
        variants = make_variants(config, replace(SMALL, archs=()), plain, TRAINING, DATASET)
        run_config = RunConfig(out=tmp_path, progress=False)

        def train():
            run = open_run("controls", "test", {control: variants[control].record()}, run_config)
            found = population.networks(run)
            run._lock.close()
            return trees.flatten(trees.to_host(found.params))

        population = trained_populations(DATASET, variants, SeedConfig(), 2, run_config)[control]
        return population, train

    return prepare


def test_masks_of_their_own_are_those_of_the_next_mask_seeds(populations):
    population, train = populations(1, "different_masks")
    model, params = population.model, train()

    @jax.jit
    def expected(frozen):
        """Return which entries are free, and the network whose free entries are zero."""
        is_free = model.free_mask(frozen)
        zeros = jax.tree.map(jnp.zeros_like, model.split(is_free, frozen))
        return is_free, model.merge(zeros, frozen)

    for index in range(2):
        is_free, zero = map(trees.flatten, trees.to_host(expected(draw_frozen(model, index))))
        for path, leaf in params.items():
            np.testing.assert_array_equal(np.where(is_free[path], 0, leaf[index]), zero[path], err_msg=path)


def test_standard_networks_can_start_where_asymmetric_ones_do(populations):
    population, _ = populations(1, "w_asym_start")
    key = rng.named_key(rng.member_keys(rng.role_key(0, "init"), 1)[0], "init")
    donor = SMALL.of("w_asym").build(DATASET.input_shape, 10)
    constants = draw_frozen(donor, 0)
    start = jax.jit(population.model.init)(key, population.frozen)
    expected = jax.jit(lambda key: donor.merge(donor.init(key, constants), constants))(key)
    # Two programs: each rounds a normal draw, of at most 6 standard deviations, in its own way.
    eps = np.finfo(np.float32).eps
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, rtol=16 * eps, atol=16 * eps), start, expected)
    assert trees.num_entries(start) == num_trainable(SMALL.of("standard").build(DATASET.input_shape, 10), 0)


def test_random_features_train_the_output_layer_alone(populations):
    population, train = populations(3, "random_features")
    keys = rng.member_keys(rng.role_key(0, "init"), 2)

    @jax.jit
    @jax.vmap
    def starts(key):
        position = population.model.init(rng.named_key(key, "init"), population.frozen)
        return population.model.merge(position, population.frozen)

    described = describe_network(
        DATASET, "digits", population.model, population.frozen, population.variant.model, "output"
    )
    assert described["num_trainable"] == 10 * (8 - 4) + 10  # Of eight inputs of each class four are fixed.
    params = train()
    for path, leaf in trees.flatten(trees.to_host(starts(keys))).items():
        moved = np.abs(params[path] - leaf).max()
        assert (moved > 1e-3) if path.startswith("output/") else (moved == 0), path
