"""Command lines in two stages: what is chosen by name, then its settings."""

from dataclasses import replace

import pytest

from asymjax.errors import InputError
from asymjax.experiments.linear_connectivity.config import Config as Comparison
from asymjax.experiments.train_sweep.config import Config
from asymjax.experiments.variants import VariantsConfig
from asymjax.lab import command_line
from asymjax.models import ModelConfig, Models
from asymjax.models.backbones import GCN, MLP, ResNet
from asymjax.models.config import each_method
from asymjax.models.methods import Pruned, SigmaAsym, Standard, WAsym
from asymjax.models.presets import MODEL_PRESETS

PRESETS = {
    "default": Config(),
    "narrow": Config(model=ModelConfig(WAsym(num_fixed=2), MLP((4,), norm="none"))),
    "paper_gnn_arxiv": Config(model=MODEL_PRESETS["paper_gnn_arxiv"].of("standard")),
}
COMPARED = {"default": Comparison(models=Models(each_method(fixed_scale=0.1), MLP((4,)), ("standard", "w_asym")))}


def model_of(*words):
    return command_line.parse(PRESETS, "", list(words), MODEL_PRESETS).model


def compared(*words):
    return command_line.parse(COMPARED, "", list(words))


def test_settings_are_those_of_the_method_and_the_backbone():
    assert model_of() == ModelConfig()
    words = ("--arch", "w_asym", "--num-fixed", "0.5", "3", "--fixed-scale", "0.25", "--mask-seed", "4")
    assert model_of(*words) == ModelConfig(WAsym(num_fixed=(0.5, 3), fixed_scale=0.25), mask_seed=4)
    assert model_of("--backbone=resnet", "--depth", "8") == ModelConfig(backbone=ResNet(8))
    assert model_of("--backbone", "gcn", "--norm", "batch") == ModelConfig(backbone=GCN(norm="batch"))


def test_a_preset_is_where_to_start_and_flags_win():
    narrow = ("--preset", "narrow")
    assert model_of(*narrow) == PRESETS["narrow"].model
    assert model_of(*narrow, "--num-fixed", "3").method == WAsym(num_fixed=3)
    assert model_of(*narrow, "--arch", "pruned") == ModelConfig(Pruned(num_fixed=2), MLP((4,), norm="none"))
    assert model_of(*narrow, "--arch", "standard").method == Standard()
    assert model_of(*narrow, "--backbone", "gcn").backbone == GCN((4,), norm="none")
    assert model_of("--preset", "paper_gnn_arxiv", "--arch", "sigma_asym").method == SigmaAsym(0.000625)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-fixed", "3"], "standard: no num_fixed, which is a setting of w_asym, pruned, w_sigma_asym; leave it"),
        (["--arch", "syre", "--gate-scale=2"], "syre: no gate_scale, which is a setting of sigma_asym, w_sigma_asym"),
        (["--depth", "8"], "mlp: no depth, which is a setting of resnet; .* choose another --backbone"),
        (["--backbone", "resnet", "--widths", "8"], "resnet: no widths, which is a setting of mlp, cnn, rnn, gcn"),
        (["--arch", "wasym"], "unknown arch 'wasym', choose from standard, w_asym"),
        (["--backbone", "cmm"], "unknown backbone 'cmm', choose from mlp, cnn"),
    ],
)
def test_settings_without_effect_and_unknown_names_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        model_of(*words)


def test_help_shows_what_was_chosen(capsys):
    with pytest.raises(SystemExit):
        model_of("--arch", "w_asym", "--help")
    words = capsys.readouterr().out
    assert "--num-fixed" in words and "Fixed inputs of each unit" in words and "--arch" in words
    assert "--gate-scale" not in words and "--depth" not in words


def test_settings_of_several_methods_are_given_once():
    assert compared() == COMPARED["default"]
    models = compared("--archs", "standard", "w_asym", "pruned", "--num-fixed", "2", "--widths", "5").models
    assert (models.archs, models.backbone) == (("standard", "w_asym", "pruned"), MLP((5,)))
    assert models.of("w_asym").method == WAsym(num_fixed=2, fixed_scale=0.1)
    assert models.of("pruned").method == Pruned(num_fixed=2)
    with pytest.raises(InputError, match="standard, syre: no num_fixed, which is a setting of w_asym"):
        compared("--archs", "standard", "syre", "--num-fixed", "2")


def test_controls_have_the_settings_of_their_method():
    config = compared("--archs", "standard", "--controls", "w_asym_start", "--num-fixed", "2")
    assert config == replace(
        COMPARED["default"],
        models=replace(config.models, archs=("standard",)),
        variants=VariantsConfig(controls=("w_asym_start",)),
    )
    assert config.models.of("w_asym").method == WAsym(num_fixed=2, fixed_scale=0.1)
