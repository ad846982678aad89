"""Grids of settings: what they say, what they refuse, and that networks train by settings of their own."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from model_of import model_of

from asymjax import data, rng
from asymjax.errors import InputError
from asymjax.experiments.grid import grid_programs, grid_variants, read_axes
from asymjax.experiments.variants import TRAINING, Variant
from asymjax.inference.samplers import HMC
from asymjax.lab import devices
from asymjax.lab.chains import ChainsConfig
from asymjax.models import ModelConfig, draw_frozen, vary_frozen
from asymjax.train.members import make_trainer
from asymjax.train.optimizers import OptimizerConfig
from asymjax.train.trainer import Member
from asymjax.types import Split

SMALL = model_of("w_asym", widths=(6,), norm="none")
MODEL, OPTIMIZER = model_of(widths=(6,)), OptimizerConfig(num_epochs=3, batch_size=16)


def programs_of(*words, num_seeds=2, model=MODEL, optimizer=OPTIMIZER):
    return grid_programs(words, Variant(model, optimizer), num_seeds)


def test_words_have_the_types_of_their_settings():
    words = ("learning_rate=1e-4,1", "widths=16/16,8", "num_fixed=0.5,3/2", "batch_size=none,64", "norm=none,layer")
    words += ("gate_scale=0.5,inv_sqrt", "mask_seed=0:3,7", "clip_norm=none,1")
    assert read_axes(words, Variant(MODEL), TRAINING) == {
        "learning_rate": (1e-4, 1.0),
        "widths": ((16, 16), (8,)),
        "num_fixed": ((0.5,), (3, 2)),
        "batch_size": (None, 64),
        "norm": ("none", "layer"),
        "gate_scale": (0.5, "inv_sqrt"),
        "mask_seed": (0, 1, 2, 7),
        "clip_norm": (None, 1.0),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["learning_rat=1"], "unknown setting of a grid 'learning_rat', choose from arch, "),
        (["learning_rate"], "grid has 'learning_rate'; write NAME=V1,V2"),
        (["learning_rate="], "no value of learning_rate"),
        (["mask_seed=3:3"], r"no value of mask_seed \(mask_seed=3:3\)"),
        (["learning_rate=1,fast"], "learning_rate = 'fast'; give a number"),
        (["learning_rate=nan"], "learning_rate = 'nan'; give a number"),
        (["num_epochs=1.5"], "num_epochs = '1.5'; give a whole number"),
        (["batch_size=few"], "batch_size = 'few'; give a whole number or none"),
        (["widths=16/x"], "widths = '16/x'; give a whole number, or several joined by /"),
        (["widths=0:8"], "widths = '0:8'; give a whole number, or"),
        (["norm=batch,group"], "norm = 'group'; give none or layer or batch"),
        (["arch=wasym"], "unknown arch 'wasym', choose from standard"),
        (["learning_rate=0.001,1e-3"], r"learning_rate = 0\.001 twice"),
        (["mask_seed=0:3,2", "arch=w_asym"], "mask_seed = 2 twice"),
        ([f"mask_seed=0,{2**32}", "arch=w_asym"], "mask_seed is 4294967296; give a number in "),
        (["num_epochs=0,1"], r"num_epochs is 0; give a number in \[1, 1e\+09\]"),
        (["label_smoothing=0,1.5"], "label_smoothing is 1.5; give a number in \\[0, 1\\]"),
        (["mask_seed=1", "arch=w_asym", "mask_seed=2"], "mask_seed twice; join its values"),
        (["fixed_scale=0.5,-1", "arch=w_asym"], r"fixed_scale is -1.0; give a number in \[0, 1e\+15\]"),
        (["mask_seed=0,1"], "grid has mask_seed, which has no effect here"),
        (
            ["fixed_scale=0.5"],
            "grid has fixed_scale, which is a setting of w_asym, w_sigma_asym, syre, fixed_bias; leave",
        ),
        (["depth=8,14"], "depth, which is a setting of resnet; leave it out"),
        (["weight_decay=0.1", "optimizer=sgd,adam"], "weight_decay, which has no effect here; leave it out"),
        (["learning_rate=1,2", "recipe=drawn"], "learning_rate, which recipe drawn draws for each network"),
    ],
)
def test_what_makes_no_grid_is_refused(words, message):
    with pytest.raises(InputError, match=message):
        programs_of(*words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_seeds": 0}, "num_seeds is 0; give 1 at least"),
    ],
)
def test_numbers_that_cannot_be_are_refused_without_a_grid(settings, message):
    with pytest.raises(InputError, match=message):
        programs_of(**settings)


def test_many_values_are_read_at_once():
    assert (
        len(read_axes(["mask_seed=0:100000"], Variant(MODEL), TRAINING)["mask_seed"]) == 100_000
    )  # Compared in pairs they take ten minutes.


def test_nothing_that_varies_is_one_program_of_all_seeds():
    (program,) = programs_of()
    assert (program.variant, program.hyper) == (Variant(MODEL, OPTIMIZER), {})
    assert {name: values.tolist() for name, values in program.coordinates.items()} == {"seed": [0, 1]}


def test_numbers_are_networks_of_one_program_and_other_settings_programs():
    words = ("learning_rate=0.1,0.2", "arch=standard,w_asym", "fixed_scale=0.25,1", "widths=4,4/4")
    programs = programs_of(*words, model=replace(MODEL, mask_seed=5))
    names = [f"arch={arch},widths={widths}" for arch in ("standard", "w_asym") for widths in ("4", "4-4")]
    assert [program.variant.name for program in programs] == names
    assert [program.variant.model.backbone.widths for program in programs] == [(4,), (4, 4)] * 2
    plain, scaled = programs[0], programs[3]
    assert [*plain.coordinates] == [*plain.hyper, "seed"] == ["learning_rate", "seed"]
    assert plain.coordinates["learning_rate"].tolist() == [0.1, 0.1, 0.2, 0.2]
    assert scaled.variant.model == ModelConfig.of("w_asym", widths=(4, 4), mask_seed=5, fixed_scale=1.0)
    assert scaled.coordinates["learning_rate"].tolist() == [0.1] * 4 + [0.2] * 4
    assert scaled.coordinates["fixed_scale"].tolist() == [0.25, 0.25, 1, 1] * 2
    assert scaled.coordinates["seed"].tolist() == [0, 1] * 4
    assert scaled.hyper["mask_seed"].tolist() == [5] * 8


def test_scales_that_one_factor_cannot_make_are_programs_of_their_own():
    by_layer = programs_of("arch=syre", "fixed_scale=0.5,0.5/0.1")
    assert [program.variant.model.method.fixed_scale for program in by_layer] == [(0.5,), (0.5, 0.1)]
    gated = programs_of("fixed_scale=0.5,1", "arch=w_asym,w_sigma_asym")
    assert [program.variant.name for program in gated[1:]] == [
        f"fixed_scale={scale},arch=w_sigma_asym" for scale in (0.5, 1.0)
    ]
    assert gated[0].coordinates["fixed_scale"].tolist() == [0.5, 0.5, 1, 1]


def test_every_combination_of_chains_is_a_posterior_of_its_own():
    words = ("temperature=0.5,1", "arch=standard,w_asym", "mask_seed=0:2", "sampler=mala,hmc", "jitter=0,0.5")
    variants = grid_variants(words, Variant(MODEL, chains=ChainsConfig(num_draws=9)))
    assert len(variants) == 2 * (1 + 2) * (1 + 2) == len({variant.name for variant in variants})
    assert {(variant.chains.num_draws, variant.model.backbone.widths) for variant in variants} == {(9, (6,))}
    assert variants[0].name == "temperature=0.5,arch=standard,sampler=mala"
    name = "temperature=1.0,arch=w_asym,mask_seed=1,sampler=hmc,jitter=0.5"
    (last,) = (variant for variant in variants if variant.name == name)
    assert (last.posterior.temperature, last.model.mask_seed, last.sampler) == (1, 1, HMC())
    assert last.varied == dict(temperature=1, arch="w_asym", mask_seed=1, sampler="hmc", jitter=0.5)


# Trained ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset():
    dataset = data.load("digits")
    return dataset._replace(train=Split(*(part[:64] for part in dataset.train)))


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def take(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.mark.parametrize("arch", ["w_asym", "syre", "fixed_bias", "sigma_asym"])
def test_traced_constants_are_those_of_plain_configurations_to_the_bit(arch, dataset):
    scale = () if arch == "sigma_asym" else (0.3,)
    axes = [f"fixed_scale={value}" for value in scale]
    (program,) = programs_of(*axes, "mask_seed=3,4", num_seeds=1, model=MODEL.having({"arch": arch}))
    model = program.variant.model.build(dataset.input_shape, 10)
    vary = partial(vary_frozen, model, draw_frozen(model, 9))
    drawn = jax.jit(lambda hyper: jax.lax.map(vary, hyper))(program.hyper)
    plain = model_of(arch, widths=(6,), fixed_scale=scale).build(dataset.input_shape, 10)
    for index, seed in enumerate((3, 4)):
        assert_equal(take(drawn, index), draw_frozen(plain, seed))


@pytest.fixture(scope="module")
def sweep(dataset):
    """Return model and constants of a sweep, its program and keys, and its networks by a function that trains them."""
    words = ("learning_rate=1e-3,1e-2", "weight_decay=0,0.1", "label_smoothing=0.2", "fixed_scale=0.3", "mask_seed=0,1")
    (program,) = programs_of(*words, num_seeds=1, model=SMALL)
    model = program.variant.model.build(dataset.input_shape, 10)
    trainer = make_trainer(model, dataset, program.variant.optimizer, program.hyper)
    keys = rng.member_keys(rng.role_key(0, "train"), 1)[program.coordinates["seed"]]
    frozen = draw_frozen(model, 0)

    def train(networks):
        placement = devices.place(len(networks), 1, "sequential")
        mapped = jax.jit(devices.map_leading(trainer.train, placement, [True, False, False]))
        return mapped(take(Member(keys, program.hyper), np.array(networks)), frozen, dataset.train)[0]

    return model, frozen, program, keys, train, train(range(8))


def test_constants_that_do_not_vary_are_the_given_ones(sweep):
    model, frozen = sweep[:2]
    assert vary_frozen(model, frozen, {"learning_rate": 0.1}) is frozen


def test_networks_with_settings_of_their_own_are_those_trained_alone(sweep):
    *_, train, together = sweep
    assert_equal(take(together, np.array([5])), train([5]))


def test_networks_with_settings_of_their_own_are_those_of_plain_configurations(sweep, dataset):
    _, _, program, keys, _, together = sweep
    index = 7
    own = {name: float(values[index]) for name, values in program.coordinates.items()}
    assert own == {"learning_rate": 0.01, "weight_decay": 0.1, "label_smoothing": 0.2, "fixed_scale": 0.3} | {
        "mask_seed": 1,
        "seed": 0,
    }
    model = SMALL.having({"fixed_scale": 0.3}).build(dataset.input_shape, 10)
    config = replace(OPTIMIZER, learning_rate=0.01, weight_decay=0.1, label_smoothing=0.2)
    trainer = make_trainer(model, dataset, config)
    alone = jax.jit(trainer.train)(keys[index], draw_frozen(model, 1), dataset.train)[0]
    for left, right in zip(
        jax.tree.leaves(take(together.position, index)), jax.tree.leaves(alone.position), strict=True
    ):
        assert np.linalg.norm(left - right) < 1e-5 * np.linalg.norm(right)
    other = take(together.position, 6)
    assert np.linalg.norm(other["output"]["kernel"] - alone.position["output"]["kernel"]) > 1e-2


def test_one_compilation_serves_all_values(sweep, dataset):
    model, frozen, program, keys, *_ = sweep
    init = jax.jit(make_trainer(model, dataset, program.variant.optimizer, program.hyper).init)
    starts = [init(take(Member(keys, program.hyper), index), frozen) for index in (0, 7)]
    assert init._cache_size() == 1
    # Other masks free other entries of the same plain start.
    assert np.any(starts[0].position["dense_0"]["kernel"] != starts[1].position["dense_0"]["kernel"])
