"""Kinds of networks as variants of one model: methods, controls, and settings that vary."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from asymjax import data, rng, trees
from asymjax.errors import InputError
from asymjax.experiments.kinds import trained_kinds
from asymjax.experiments.setup import describe_network
from asymjax.experiments.variants import CONTROLS, SETTINGS, KindsConfig, Variant, make_variants, num_trainable
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import open_run
from asymjax.models import build_model, draw_frozen
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig
from asymjax.train.optimizers import OptimizerConfig

MODEL, OPTIMIZER, SHAPES = ModelConfig(widths=(12, 8)), OptimizerConfig(num_epochs=2), ((8, 8, 1), 10)


def variants_of(**kinds):
    return make_variants(KindsConfig(**{"archs": (), **kinds}), MODEL, OPTIMIZER, SHAPES)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_methods_are_kinds_of_their_own_names():
    variants = variants_of(archs=("standard", "w_asym"))
    assert variants == {arch: Variant(replace(MODEL, arch=arch), OPTIMIZER) for arch in ("standard", "w_asym")}


def test_a_setting_varies_where_it_matters():
    variants = variants_of(archs=("standard", "w_asym", "syre"), vary="fixed_scale", values=(0.0, 0.5))
    names = ["w_asym-fixed_scale-0", "w_asym-fixed_scale-0.5", "syre-fixed_scale-0", "syre-fixed_scale-0.5"]
    assert list(variants) == ["standard", *names]
    assert [variant.model.fixed_scale for variant in variants.values()] == [(), (0.0,), (0.5,), (0.0,), (0.5,)]
    assert variants["w_asym-fixed_scale-0.5"].varied == ("fixed_scale", 0.5) and variants["standard"].varied is None


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("num_fixed", 0.25, lambda v: v.model.num_fixed == (0.25,)),
        ("num_fixed", 3.0, lambda v: v.model.num_fixed == (3,)),
        ("mask_seed", 5.0, lambda v: v.model.mask_seed == 5),
        ("width", 16.0, lambda v: v.model.widths == (16, 16)),
        ("learning_rate", 0.1, lambda v: v.optimizer.learning_rate == 0.1),
        ("warmup_steps", 10.0, lambda v: v.optimizer.warmup_steps == 10),
        ("num_epochs", 1.0, lambda v: v.optimizer.num_epochs == 1),
    ],
)
def test_settings_take_their_values(setting, value, found):
    (variant,) = variants_of(archs=("w_asym",), vary=setting, values=(value,)).values()
    assert found(variant)


def test_every_setting_that_varies_can_be_named():
    assert set(SETTINGS) | {"none"} == set(KindsConfig.__dataclass_fields__["vary"].type.__args__)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"archs": ("wasym",)}, "unknown arch 'wasym', choose from standard"),
        ({"controls": ("nothing",)}, "unknown control 'nothing', choose from different_masks"),
        ({}, "archs and controls are empty"),
        ({"archs": ("w_asym",), "vary": "num_fixed"}, r"vary is num_fixed and values are \(\); give both or neither"),
        ({"archs": ("w_asym",), "values": (1.0,)}, "give both or neither"),
        ({"archs": ("w_asym",), "vary": "width", "values": (1.5,)}, "values has 1.5; this setting takes whole numbers"),
    ],
)
def test_what_makes_no_kinds_is_refused(kinds, message):
    with pytest.raises(InputError, match=message):
        variants_of(**kinds)


@pytest.mark.parametrize("backbone", ["mlp", "resnet"])
def test_small_standard_networks_have_as_many_entries_as_asymmetric_ones_or_just_fewer(backbone):
    shapes = ((16, 16, 1), 10)
    plain = Variant(replace(MODEL, backbone=backbone, widths=(64, 64), depth=8), OPTIMIZER)
    small = CONTROLS["small_standard"](plain, shapes).model
    target = num_trainable(replace(plain.model, arch="w_asym"), shapes)
    assert small.arch == "standard"
    assert 0.9 * target < num_trainable(small, shapes) <= target < num_trainable(plain.model, shapes)


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


@pytest.fixture(scope="module")
def networks(dataset, tmp_path_factory):
    """Return a function that trains two networks of each kind: name -> (kind, Networks)."""

    def train(num_epochs, **kinds):
        optimizer = replace(OPTIMIZER, num_epochs=num_epochs)
        variants = make_variants(KindsConfig(**{"archs": (), **kinds}), MODEL, optimizer, SHAPES)
        run_config = RunConfig(out=tmp_path_factory.mktemp("kinds"), progress=False)
        run = open_run("kinds", "test", {"kinds": variants}, run_config)
        found = trained_kinds(dataset, variants, SeedConfig(), 2, run_config)
        trained = {name: (kind, kind.networks(run)) for name, kind in found.items()}
        run._lock.close()
        return trained

    return train


def test_masks_of_their_own_are_those_of_the_next_mask_seeds(networks):
    kind, found = networks(1, controls=("different_masks",))["different_masks"]
    for index in range(2):
        frozen = draw_frozen(kind.model, index)
        is_free = kind.model.free_mask(frozen)
        zero = kind.model.merge(jax.tree.map(np.zeros_like, kind.model.split(is_free, frozen)), frozen)
        network = jax.tree.map(lambda leaf, i=index: leaf[i], found.params)
        fixed = jax.tree.map(lambda leaf, free: np.where(free, 0, leaf), network, is_free)
        assert_equal(fixed, zero)


def test_standard_networks_can_start_where_asymmetric_ones_do(networks):
    kind, _ = networks(1, controls=("w_asym_start",))["w_asym_start"]
    key = rng.named_key(rng.member_keys(rng.role_key(0, "init"), 1)[0], "init")
    donor = build_model(replace(MODEL, arch="w_asym"), *SHAPES)
    constants = draw_frozen(donor, 0)
    start = jax.jit(kind.model.init)(key, kind.frozen)
    assert_equal(start, donor.merge(donor.init(key, constants), constants))
    assert trees.num_entries(start) == num_trainable(MODEL, SHAPES)


def test_random_features_train_the_output_layer_alone(networks):
    kind, found = networks(3, controls=("random_features",))["random_features"]
    keys = rng.member_keys(rng.role_key(0, "init"), 2)
    position = jax.vmap(lambda key: kind.model.init(rng.named_key(key, "init"), kind.frozen))(keys)
    start = jax.vmap(kind.model.merge, (0, None))(position, kind.frozen)
    described = describe_network(data.load("digits"), "digits", kind.model, kind.frozen, kind.variant.model, "output")
    assert described["num_trainable"] == 10 * (8 - 4) + 10  # Of eight inputs of each class four are fixed.
    for path, leaf in trees.flatten(start).items():
        moved = np.abs(trees.flatten(found.params)[path] - leaf).max()
        assert (moved > 1e-3) if path.startswith("output/") else (moved == 0), path
