"""Zoos: what is read of a finished run, what is refused, and what the report says of scores and recipes."""

import json
import runpy
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import asymjax
from asymjax import data, trees
from asymjax.errors import InputError
from asymjax.experiments.train_sweep.figures import combinations, read_sweep
from asymjax.experiments.variants import num_trainable
from asymjax.experiments.zoo.kinds import kind_of
from asymjax.experiments.zoo.table import num_at_chance, zoo_tables
from asymjax.lab.results import NETWORKS, RESULTS, open_networks, tree_of, write_rows
from asymjax.lab.stored import StoredRows
from asymjax.metanets import reader
from asymjax.metanets import zoo as zoo_module
from asymjax.rng import SeedConfig
from asymjax.symmetry.groups import position_spec
from asymjax.train.members import drawn_recipes
from asymjax.train.optimizers import drawn

SCRIPT = Path(__file__).parents[2] / "runs" / "zoo.py"
COUNT = 42
FLAGS = ["--arch", "w_asym", "--num-fixed", "3", "--widths", "6", "--num-epochs", "3", "--batch-size", "128"]


@pytest.fixture(scope="module")
def made(script, tmp_path_factory):
    """Return the directory of a finished zoo."""
    path = tmp_path_factory.mktemp("zoo") / "run"
    script(SCRIPT, *FLAGS, "--num-networks", COUNT, "--run-dir", path, "--no-progress")
    return path


@pytest.fixture
def copy(made, tmp_path):
    """Return a copy of the directory, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def edit(path, name, change):
    content = json.loads((path / name).read_text())
    change(content)
    (path / name).write_text(json.dumps(content))


def test_a_zoo_has_weights_scores_and_recipes_of_every_network(made):
    zoo = asymjax.read_zoo(made)
    assert zoo.ids.tolist() == list(range(COUNT)) and zoo.excluded == {}
    stored = tree_of(open_networks(made), "position.")
    jax.tree.map(np.testing.assert_array_equal, zoo.position, stored)
    assert {(type(leaf), leaf.dtype) for leaf in jax.tree.leaves(zoo.position)} == {(np.ndarray, np.dtype("float32"))}
    assert trees.num_entries(zoo.position) == COUNT * (61 * 6 + 6 + 3 * 10 + 10)
    recipes = drawn_recipes(drawn(0.1, 1, 3, 128), SeedConfig(), COUNT)
    assert zoo.recipes.keys() == recipes.keys() == {"learning_rate", "weight_decay", "label_smoothing", "num_epochs"}
    for name, values in recipes.items():
        np.testing.assert_array_equal(zoo.recipes[name], values)
    assert set(zoo.recipes["num_epochs"]) == {1, 2, 3}
    # Model and constants are those that the networks were trained with.
    rows = data.load("digits").test
    outputs = np.asarray(jax.jit(jax.vmap(zoo.model.apply, (0, None, None)))(zoo.position, zoo.frozen, rows.inputs))
    accuracy = np.mean(np.argmax(outputs, axis=-1) == rows.targets, axis=-1)
    np.testing.assert_allclose(zoo.target("test.accuracy"), accuracy, atol=1.5 / len(rows.targets))


def test_networks_of_a_zoo_in_memory_are_those_of_the_command(made):
    zoo = asymjax.read_zoo(made)
    options = {"num_networks": COUNT, "num_epochs": 3, "batch_size": 128, "show_progress": False}
    found = asymjax.train_zoo(jax.random.key(0), zoo.model, data.load("digits"), **options)
    jax.tree.map(np.testing.assert_array_equal, found.position, zoo.position)
    assert found.scores.keys() == zoo.scores.keys() and found.recipes.keys() == zoo.recipes.keys()
    for own, kept in ((found.scores, zoo.scores), (found.recipes, zoo.recipes)):
        for name, values in own.items():
            np.testing.assert_array_equal(values, kept[name])
            assert values.dtype == kept[name].dtype
    np.testing.assert_array_equal(found.ids, zoo.ids)


def test_networks_that_failed_or_are_not_finite_are_apart(copy, made):
    position = {
        f"position.{layer}.bias": np.full((1, size), np.nan) for layer, size in (("dense_0", 6), ("output", 10))
    }
    write_rows(copy, NETWORKS, {"network": 3}, position)
    write_rows(copy, NETWORKS, {"network": 5}, {"failed_step": np.array([7])} | {"train.loss": np.array([np.inf])})
    with (
        pytest.raises(InputError, match="has 40 finite networks; a zoo takes 41"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(zoo_module, "MIN_NETWORKS", 41)
        asymjax.read_zoo(copy)
    zoo, whole = asymjax.read_zoo(copy), asymjax.read_zoo(made)
    assert zoo.excluded == {3: "parameters are not finite", 5: "loss not finite at step 7"}
    kept = np.delete(np.arange(COUNT), [3, 5])
    np.testing.assert_array_equal(zoo.ids, kept)
    np.testing.assert_array_equal(zoo.position["output"]["kernel"], whole.position["output"]["kernel"][kept])
    np.testing.assert_array_equal(zoo.target("test.loss"), whole.target("test.loss")[kept])
    np.testing.assert_array_equal(zoo.recipes["learning_rate"], whole.recipes["learning_rate"][kept])
    write_rows(copy, NETWORKS, {"network": 4}, {"test.loss": np.array([np.inf])})
    with pytest.raises(InputError, match="has 39 finite networks"):
        asymjax.read_zoo(copy)


def test_what_is_read_of_the_store_is_what_is_read_into_memory(copy, monkeypatch):
    weights = {f"position.{layer}.bias": np.full((1, n), np.nan) for layer, n in (("dense_0", 6), ("output", 10))}
    write_rows(copy, NETWORKS, {"network": 3}, weights)
    held = asymjax.read_zoo(copy)
    monkeypatch.setattr(reader, "MAX_BYTES", 0)
    stored = asymjax.read_zoo(copy)
    assert {type(leaf) for leaf in jax.tree.leaves(stored.position)} == {StoredRows}
    assert stored.excluded == held.excluded == {3: "parameters are not finite"}
    jax.tree.map(lambda leaf, whole: np.testing.assert_array_equal(leaf[:], whole), stored.position, held.position)
    monkeypatch.setattr(trees, "BLOCK_BYTES", 500)
    assert trees.checksum(stored.position) == trees.checksum(held.position)


@pytest.mark.parametrize("name", ["position.dense_0.bias", "test.loss", "learning_rate"])
@pytest.mark.parametrize("max_bytes", [0, reader.MAX_BYTES])
def test_damage_is_named_by_its_array(copy, monkeypatch, name, max_bytes):
    monkeypatch.setattr(reader, "MAX_BYTES", max_bytes)
    file = next(file for file in (copy / RESULTS / NETWORKS / name / "c").rglob("*") if file.is_file())
    file.write_bytes(b"\1" + file.read_bytes()[1:])
    with pytest.raises(InputError, match=f"{name} is damaged"):
        asymjax.read_zoo(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda record: record.update(experiment="train_grid"),
            "is a grid of several programs; give one of the direct",
        ),
        (lambda record: record.update(experiment="lmc"), "is a run of lmc; give one of zoo, train_sweep or bnn_"),
        (
            lambda record: record["config"].update(coordinates={"mask_seed": [0, 1]}),
            "mask_seed differs between its net",
        ),
        (
            lambda record: record["config"]["model"].update(mask_seed=1),
            "what is fixed in its networks is drawn otherwise",
        ),
        (
            lambda record: record["config"]["model"].update(widths=[7]),
            "what is fixed in its networks is drawn otherwise",
        ),
        (lambda record: record["config"].pop("model"), "is a run of zoo; give one of a posterior or of a sweep"),
    ],
)
def test_what_is_no_zoo_is_refused(copy, change, message):
    edit(copy, "config.json", change)
    with pytest.raises(InputError, match=message):
        asymjax.read_zoo(copy)


def test_an_unfinished_run_is_refused(copy):
    (copy / "DONE").unlink()
    with pytest.raises(InputError, match="is not finished"):
        asymjax.read_zoo(copy)


def test_the_report_is_the_numbers_of_the_summary(copy):
    accuracy = np.linspace(0.1, 0.9, COUNT)
    rates = []

    def order(summary):
        rates.extend(summary["coordinates"]["learning_rate"])
        summary["test"]["accuracy"] = accuracy[np.argsort(np.argsort(rates))].tolist()
        summary["status"][int(np.argmin(rates))] = "not finite at step 3"

    edit(copy, "summary.json", order)
    run = read_sweep(copy)
    networks, spread, recipes = zoo_tables(run)
    trained = accuracy[1:]
    at_chance = np.sum(trained <= 0.1 + 2 * np.sqrt(0.09 / 359))
    assert networks.rows == [["w_asym", "412", "48", str(COUNT), "1", str(at_chance)]]
    numbers = [trained.mean(), trained.std(ddof=1), *np.quantile(trained, (0.05, 0.25, 0.5, 0.75, 0.95))]
    assert [row[0] for row in spread.rows] == ["training", "validation", "test"]
    assert spread.rows[-1][1:] == [f"{value:.4f}" for value in numbers]
    by_name = {row[0]: row[1:] for row in recipes.rows}
    assert by_name["learning_rate"][-1] == "+1.000" and abs(float(by_name["label_smoothing"][-1])) < 0.6
    assert by_name["num_epochs"][:3] == ["1", "2", "3"]
    assert run.title == "zoo of mlp on digits"


def test_a_control_has_as_many_entries_as_its_method_or_just_fewer(script, tmp_path):
    path = tmp_path / "run"
    done = script(
        SCRIPT, *FLAGS, "--control", "small_standard", "--num-networks", 40, "--run-dir", path, "--no-progress"
    )
    assert done.stderr == ""
    zoo = asymjax.read_zoo(path)
    # 61 * 6 + 6 + 3 * 10 + 10 = 412 of w_asym with 6 units; 5 units of a standard network have 385, and 6 have 460.
    assert trees.num_entries(zoo.position) == 40 * 385 and position_spec(zoo.model, zoo.frozen)
    record = read_sweep(path).record["config"]
    assert kind_of(record) == "small_standard" and record["model"]["arch"] == "standard"
    assert kind_of(record | {"start": "shared"}) == "small_standard, shared start"
    assert zoo_tables(read_sweep(path))[0].rows[0][:3] == ["small_standard", "385", "0"]
    assert [row.name for row in combinations(read_sweep(path))] == ["small_standard"]
    done = script(SCRIPT, "--control", "small_standard", "--run-dir", tmp_path / "none", check=False)
    assert done.returncode == 2 and "arch is standard; it is one of w_asym" in done.stderr
    assert not (tmp_path / "none").exists()


def test_who_guesses_is_at_chance():
    # Of 400 rows of 10 classes 40 are guessed, with a standard deviation of 6.
    assert num_at_chance(np.array([39, 52, 53, 400]) / 400, 10, 400) == 2


@pytest.mark.parametrize(
    ("preset", "shape", "count"), [("small_cnn", (28, 28, 1), 4970), ("resnet8", (32, 32, 3), 78_042)]
)
def test_presets_are_the_networks_of_the_papers(preset, shape, count):
    presets = runpy.run_path(str(SCRIPT))["PRESETS"]
    assert num_trainable(presets[preset].model.build(shape, 10), 0) == count
