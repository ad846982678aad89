"""Teleportation as a user runs it: to its end, through interruptions, and what is refused."""

import json
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from asymjax import data
from asymjax.lab import run_files
from asymjax.models.config import ModelConfig
from asymjax.report.read import read_results
from asymjax.rng import SeedConfig
from asymjax.train import make_train
from asymjax.train.losses import cross_entropy
from asymjax.train.members import initial_keys, train_keys

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "runs" / "teleport.py"
SIZE = ["--widths", "5", "--num-epochs", "3", "--num-seeds", "2", "--batch-size", "20", "--num-probes", "3"]
WORDS = ["--preset", "smoke", "--dataset", "wine", *SIZE, "--every", "1", "--no-progress", "--teleport-rows", "30"]
ARMS = ("steep", "random", "balanced", "pseudo_inverse")
INPUT_EXIT = 2


def run_directory(done):
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def finished(script, tmp_path_factory):
    done = script(SCRIPT, *WORDS, "--arms", *ARMS, "--out", tmp_path_factory.mktemp("out"), draw=True)
    return run_directory(done), done


@pytest.fixture(scope="module")
def summary(finished):
    return run_files.read_json(finished[0] / "summary.json")


@pytest.mark.long
def test_a_run_tells_what_it_found_and_leaves_figures(finished, summary):
    path, done = finished
    assert done.stderr == ""
    assert path.parent.name == "teleport"
    assert {file.name for file in (path / "figures").glob("*.png")} == {"losses.png", "curvature.png"}
    for word in ("epochs to", "What teleports did", "steep: ", "on other rows"):
        assert word in done.stdout
    assert list(summary["arms"]) == ["plain", *ARMS]
    assert summary["dimension"] == 5
    assert summary["steps"] == [1, 2]


@pytest.mark.long
def test_exact_teleports_keep_the_loss_and_fall_and_the_pseudo_inverse_does_not(finished, summary):
    told = {arm: summary["arms"][arm]["teleports"] for arm in ARMS}
    for arm in ("steep", "random", "balanced"):
        assert told[arm]["largest_loss_change"] < 1e-6
    assert told["pseudo_inverse"]["largest_loss_change"] > 1e-4
    assert all(told[arm]["fall"]["mean"] > 0 and told[arm]["least_fall"] >= 0 for arm in ARMS if arm != "random")
    arrays = read_results(finished[0], "arms/")
    lengths = arrays["steep/told/length"]
    assert lengths.shape == (2, 2) and (lengths > 0).all() and (lengths < 0.3 + 1e-6).all()
    assert (arrays["balanced/norm"] < arrays["random/norm"]).all()


@pytest.mark.long
def test_plain_training_is_that_of_the_trainer_and_teleports_change_what_follows(finished):
    arrays = read_results(finished[0], "arms/")
    assert arrays["losses"].shape == (5, 2, 3)
    dataset, model = data.load("wine"), ModelConfig.of(widths=(5,), norm="none", activation="leaky_relu")
    built = model.build(dataset.input_shape, dataset.num_outputs)
    trainer = make_train(built, cross_entropy, optax.sgd(0.02), 3, batch_size=20)
    keys, init_keys = train_keys(SeedConfig(), 2), initial_keys(SeedConfig(), 2)
    for seed in range(2):
        state = trainer.init(init_keys[seed], {})
        losses = jax.jit(trainer.advance, static_argnums=4)(keys[seed], state, {}, dataset.train, 3)[1]
        np.testing.assert_allclose(losses, arrays["losses"][0, seed], rtol=1e-5)
    for arm in range(1, 5):
        assert (np.abs(arrays["losses"][arm] - arrays["losses"][0]) > 1e-6).all()
    lengths = arrays["random/told/before"]
    assert len(np.unique(lengths)) == lengths.size  # Each seed and teleport has rows and an element of its own.


def outcome(path):
    """Return what must not depend on interruptions: all but seconds."""
    metrics = [{name: line[name] for name in line.keys() - {"seconds"}} for line in run_files.read_metrics(path)]
    summary = run_files.read_json(path / "summary.json")
    summary.pop("seconds")
    arrays = read_results(path, "arms/")
    arrays.pop("seconds")
    return arrays, json.dumps([metrics, summary], indent=1)


@pytest.mark.long
def test_a_run_that_is_interrupted_everywhere_ends_as_if_it_never_was(finished, script, interrupt, tmp_path):
    path = tmp_path / "run"
    words = [SCRIPT, *WORDS, "--arms", *ARMS, "--run-dir", path]
    interrupt("train", 1, "between", *words)
    interrupt("train", 3, "before", *words)
    interrupt("measure-random", 1, "between", *words)
    assert not (path / "DONE").exists()
    script(*words)
    (found, text), (expected, expected_text) = outcome(path), outcome(finished[0])
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert text == expected_text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arms", "nonsense"], "unknown arm 'nonsense', choose from steep"),
        (["--activation", "tanh"], "has no continuous symmetry to teleport by"),
        (["--teleport-rows", "100"], "teleport_rows is 100, there are 124 training rows; give 62 at most"),
        (["--every", "100"], "training has 18 steps"),
        (["--batch-size", "1000"], "batch_size is 1000, there are 124 training rows"),
        (["--dataset", "digits_graph", "--backbone", "gcn"], "is a graph"),
    ],
)
def test_what_cannot_be_trained_is_refused(script, tmp_path, words, message):
    done = script(SCRIPT, *WORDS, *words, "--out", tmp_path / "out", check=False)
    assert done.returncode == INPUT_EXIT and message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_an_arm_of_which_nothing_is_left_is_an_error(script, tmp_path):
    done = script(SCRIPT, *WORDS, "--learning-rate", "1e9", "--out", tmp_path, check=False)
    assert done.returncode not in (0, INPUT_EXIT) and "every network diverged of plain, steep" in done.stderr
