"""Models as records: flat, readable, and read back equal."""

import json
from itertools import product

import pytest

from asymjax.errors import InputError
from asymjax.experiments import published
from asymjax.models import ModelConfig, Models
from asymjax.models.backbones import BACKBONES, MLP, ResNet
from asymjax.models.methods import METHODS, SigmaAsym, Standard, Syre, WAsym
from asymjax.models.presets import MODEL_PRESETS


@pytest.mark.parametrize("names", list(product(METHODS, BACKBONES)), ids="-".join)
def test_a_record_is_flat_and_reads_back_equal(names):
    arch, backbone = names
    for config in (ModelConfig(METHODS[arch](), BACKBONES[backbone](), 3), MODEL_PRESETS["paper_gnn_arxiv"].of(arch)):
        record = json.loads(json.dumps(config.record()))
        assert not any(isinstance(value, dict) for value in record.values())
        assert ModelConfig.of(**record) == config


def test_a_record_says_what_its_names_mean():
    config = ModelConfig(WAsym(num_fixed=8), MLP((32, 32)))
    assert config.record() == {
        "arch": "w_asym",
        "backbone": "mlp",
        "num_fixed": (8,),
        "mask_kind": "random_subsets",
        "fixed_scale": (0.5,),
        "widths": (32, 32),
        "norm": "layer",
        "activation": "gelu",
        "mask_seed": 0,
    }


def test_one_value_stands_for_a_tuple_of_one():
    assert WAsym(num_fixed=0.125, fixed_scale=0.5) == WAsym(num_fixed=(0.125,), fixed_scale=(0.5,))
    assert MLP(8) == MLP((8,)) == MLP([8])


def test_another_method_keeps_what_was_set_and_it_has():
    config = ModelConfig(WAsym(num_fixed=2), MLP((4,), norm="none"))
    assert config.having({"arch": "w_sigma_asym"}).method.num_fixed == (2,)
    assert config.having({"arch": "syre"}).method == Syre()  # 0.5 is the default of w_asym alone.
    assert config.having({"arch": "standard", "backbone": "resnet"}) == ModelConfig(Standard(), ResNet(norm="none"))


def test_settings_of_others_are_refused_with_those_that_have_them():
    with pytest.raises(InputError, match="standard: no num_fixed, which is a setting of w_asym, pruned, w_sigma_asym"):
        ModelConfig.of(num_fixed=3)
    with pytest.raises(InputError, match="unknown setting 'num_fixd', choose from"):
        ModelConfig.of("w_asym", num_fixd=3)


def test_a_method_of_the_users_own_has_its_own_name():
    class Mine(SigmaAsym):
        """A method that no registry has."""

    assert ModelConfig(Mine()).arch == "Mine"


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("paper_mlp_mnist", published.BACKBONE | published.METHODS), ("paper_resnet8_metanet", published.PATHS_MODEL)],
)
def test_published_settings_are_those_of_the_preset(preset, expected):
    record = json.loads(json.dumps(MODEL_PRESETS[preset].of("w_sigma_asym").record()))
    assert {name: record[name] for name in expected} == expected
    assert record.keys() - expected.keys() == {"arch", "mask_seed"}


def test_what_is_compared_has_a_record():
    record = Models(backbone=MLP(4), archs=("standard", "sigma_asym")).record()
    assert record["methods"] == {"standard": {}, "sigma_asym": {"gate_scale": "inv_sqrt"}} and record["widths"] == (4,)
