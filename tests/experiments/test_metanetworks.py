"""Metanetworks on zoos: their names, what is refused before anything is fitted, what is fitted and what is said."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from metanets.zoos import make_zoo, squared_norm

from asymjax.errors import InputError
from asymjax.experiments.metanetworks import run
from asymjax.experiments.metanetworks.figures import MetanetRun, plot_curves, plot_order, plot_widened, read_metanets
from asymjax.experiments.metanetworks.table import metanet_tables, words
from asymjax.lab import results, run_files
from asymjax.metanets import FitConfig, StatNN, fit, split

SCRIPT = Path(__file__).parents[2] / "runs" / "metanet.py"
INPUT_EXIT, DIVERGED_EXIT = 2, 3
COUNT = 80
ROUNDING = 3e-6  # The same steps in two programs; equal to the bit with the compiler as users have it, see runs/.
FIT = FitConfig(num_epochs=2, batch_size=16, learning_rates=(0.01,), num_trials=1, num_seeds=3)
SETTINGS = "--num-epochs 2 --batch-size 16 --learning-rates 0.01 --num-trials 1 --num-seeds 3 --no-progress"


def make_record(path, is_finished=True, **config):
    """Write what a zoo's directory says of how it was made."""
    path.mkdir(parents=True)
    record = {"experiment": "zoo", "config": config, "provenance": {"command": ["zoo.py", "--num-networks", "80"]}}
    (path / "config.json").write_text(json.dumps(record))
    if is_finished:
        (path / "DONE").touch()
    return path


@pytest.fixture
def on_zoos(script, tmp_path, monkeypatch):
    """Return a function that runs the script on zoos in memory, by the names of their directories."""

    def on(zoos, *flags, draw=False, check=False):
        paths = {make_record(tmp_path / name, model={"arch": "standard"}): zoo for name, zoo in zoos.items()}
        monkeypatch.setattr(run, "read_zoo", paths.get)
        path = tmp_path / "run"
        done = script(SCRIPT, "--zoo", *paths, *SETTINGS.split(), "--run-dir", path, *flags, check=check, draw=draw)
        return done, path

    return on


# Names -----------------------------------------------------------------------------------------------------------


def test_zoos_are_named_by_what_differs(tmp_path):
    own = make_record(tmp_path / "1", model={"arch": "standard"}, start="own")
    shared = make_record(tmp_path / "2", model={"arch": "standard"}, start="shared")
    asym = make_record(tmp_path / "3", model={"arch": "w_asym"})
    module = make_record(tmp_path / "of a module")
    expected = {"standard": own, "standard, shared start": shared, "w_asym": asym, "of a module": module}
    assert run._named((own, shared, asym, module)) == expected
    other = make_record(tmp_path / "4", model={"arch": "standard"}, start="own")
    assert run._named((own, shared, other)) == {"1": own, "standard, shared start": shared, "4": other}


def test_the_directory_one_is_in_has_its_name(tmp_path, monkeypatch):
    here, other = (make_record(tmp_path / name, model={"arch": "standard"}) for name in "ab")
    monkeypatch.chdir(here)
    assert run._named((Path(), other)) == {"a": Path(), "b": other}


@pytest.mark.parametrize("names", [("a", "a"), ("a", "b/../a"), ("x/a", "y/a")])
def test_a_zoo_is_given_once(tmp_path, names):
    for name in {"a", "b", "x/a", "y/a"}:
        make_record(tmp_path / name, model={"arch": "standard"})
    with pytest.raises(InputError, match="a directory twice, or two of one name; give each zoo once"):
        run._named(tuple(tmp_path / name for name in names))


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--metanets", "statnet"], "unknown metanetwork 'statnet', choose from recipe, norms"),
        (["--metanets", "statnn,depth=3"], "unknown setting of statnn 'depth', choose from widths"),
        (["--metanets", "statnn", "statnn"], "'statnn', which is the same as one before it"),
        (["--metanets"], "metanets is empty; name one at least"),
        (["--target", "barrier", "--widened", "32"], "barriers are of weights, and change where networks are widened"),
        (["--target", "test.loss"], "unknown target 'test.loss', choose from test.accuracy"),
        (["--metanets", "statnn", "--num-train", "20", "41"], "num_train has 41, but standard has 40 networks for"),
        (
            ["--metanets", "statnn", "flat_mlp,is_permuted=yes"],
            "flat_mlp,is_permuted=yes on standard: units are permuted in effective weights; give reads=params",
        ),
        (
            ["--metanets", "norms", "statnn", "--num-train", "20", "8"],
            "statnn on standard: batch_size is 16, but 8 networks are for training",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(on_zoos, flags, message):
    done, path = on_zoos({"zoo": make_zoo(COUNT, squared_norm)}, *flags)
    assert done.returncode == INPUT_EXIT and message in done.stderr, done.stderr
    assert not path.exists() and "Warning" not in done.stderr


def test_wider_networks_are_of_no_chain(on_zoos):
    zoo = make_zoo(COUNT, squared_norm)._replace(labels={"chain": np.arange(COUNT) % 2})
    done, path = on_zoos({"zoo": zoo}, "--metanets", "norms", "--target", "chain", "--widened", "32")
    assert "chain is a class, and wider networks are scored by numbers" in done.stderr and not path.exists()


@pytest.mark.parametrize("name", ["recipe", "stat_trees,with_recipe=yes"])
def test_a_zoo_of_one_recipe_has_none_to_know(on_zoos, name):
    zoo = make_zoo(COUNT, squared_norm)._replace(recipes={})
    done, path = on_zoos({"zoo": zoo}, "--metanets", "stat_trees", name)
    assert f"{name} on standard: all networks have the same recipe" in done.stderr and not path.exists()


def test_targets_that_do_not_vary_are_refused(on_zoos):
    targets = np.full(COUNT, 0.1)
    targets[split(np.arange(COUNT)).test] = np.linspace(0.1, 0.9, COUNT // 4)
    done, path = on_zoos({"zoo": make_zoo(COUNT, lambda leaves: targets)}, "--metanets", "norms", "statnn")
    assert "statnn on standard: the target is the same for all networks of the training or" in done.stderr
    assert done.returncode == INPUT_EXIT and not path.exists()


def test_a_directory_that_is_no_zoo_is_refused(script, tmp_path):
    unfinished = make_record(tmp_path / "zoo", is_finished=False, model={"arch": "standard"})
    of_lmc = make_record(tmp_path / "lmc", model={"arch": "standard"})
    record = json.loads((of_lmc / "config.json").read_text())
    (of_lmc / "config.json").write_text(json.dumps(record | {"experiment": "lmc"}))
    for words_of_zoo, message in (
        ([], "zoo is empty; give run directories of runs/zoo.py"),
        (["--zoo", tmp_path / "nothing"], "is not a run directory"),
        (["--zoo", unfinished], "is not finished (there is no DONE); run its command again"),
        (["--zoo", of_lmc], "is a run of lmc; give one of zoo, train_sweep or bnn_"),
    ):
        done = script(SCRIPT, *words_of_zoo, "--run-dir", tmp_path / "run", check=False)
        assert done.returncode == INPUT_EXIT and message in done.stderr, done.stderr
        assert not (tmp_path / "run").exists()


def test_too_few_networks_are_refused(on_zoos):
    done, path = on_zoos({"zoo": make_zoo(39, squared_norm)}, "--metanets", "norms")
    assert done.returncode == INPUT_EXIT and not path.exists()
    assert "there are 39 networks; give 40 or more" in done.stderr


# What is fitted --------------------------------------------------------------------------------------------------


def test_less_training_is_part_of_more():
    parts = split(np.arange(COUNT))
    sizes = [run._of_training(parts, count) for count in (5, 17, 40)]
    for less, more in pairwise(sizes):
        assert set(less.train) < set(more.train)
    assert [len(part.train) for part in sizes] == [5, 17, 40]
    np.testing.assert_array_equal(sizes[-1].train, parts.train)
    for part in sizes:
        np.testing.assert_array_equal(part.test, parts.test)
        np.testing.assert_array_equal(part.validation, parts.validation)


@pytest.mark.long
def test_the_command_fits_what_the_function_does(on_zoos):
    # Names with letters that are not ASCII, and that differ in one that is none; a setting of several numbers.
    zoos = {
        name: make_zoo(COUNT, squared_norm, seed=seed) for seed, name in enumerate(("zoo_1 é, (a)", "zoo-1 é, (a)"))
    }
    done, path = on_zoos(zoos, "--metanets", "recipe", "statnn,widths=8/4", check=True)
    assert done.stderr == ""
    found = results.read_arrays(path, "predictions/")
    assert {name: array.shape[0] for name, array in found.items()} == {
        f"predictions/{zoo}/{metanet}/40": num_seeds
        for zoo in zoos
        for metanet, num_seeds in (("recipe", 1), ("statnn,widths=8-4", 3))
    }
    kept = results.read_arrays(path, "zoos/")
    for name, zoo in zoos.items():
        expected = fit(zoo, StatNN(widths=(8, 4)), config=FIT)
        predictions = found[f"predictions/{name}/statnn,widths=8-4/40"]
        np.testing.assert_allclose(predictions, expected.predictions, rtol=ROUNDING)
        fitted = cell_of(path, name, "statnn,widths=8-4")
        assert fitted["epochs"] == expected.epochs.tolist() and fitted["learning_rate"] == 0.01
        np.testing.assert_allclose(fitted["trials"]["0.01"], expected.trials[0.01], rtol=ROUNDING)
        np.testing.assert_array_equal(kept[f"zoos/{name}/target"], zoo.target("test.accuracy"))
        assert np.bincount(kept[f"zoos/{name}/part"]).tolist() == [40, 20, 20]


def cell_of(path, zoo, metanet):
    cells = run_files.read_json(path / "summary.json")["cells"]
    return next(cell for cell in cells if (cell["zoo"], cell["metanet"]) == (zoo, metanet))


def test_a_metanetwork_that_does_not_train_is_named(on_zoos):
    flags = ["--metanets", "statnn,widths=8/4", "--learning-rates", "1e12"]
    done, path = on_zoos({"zoo": make_zoo(COUNT, squared_norm)}, *flags)
    assert done.returncode == DIVERGED_EXIT and not (path / "DONE").exists()
    assert "statnn,widths=8-4 on standard: no learning rate out of 1000000000000.0 trains" in done.stderr


# What is said of it ----------------------------------------------------------------------------------------------


def scores_of(tau, half_width=None):
    low, high = (None, None) if half_width is None else (tau - half_width, tau + half_width)
    values = [tau] if half_width is None else [tau - half_width, tau, tau + half_width]
    one = {"mean": tau, "std": None, "low": low, "high": high, "values": values}
    return dict.fromkeys(("tau", "r2", "r2_recalibrated", "error"), one)


def cell(zoo, metanet, count, tau, half_width=None):
    return {"zoo": zoo, "metanet": metanet, "num_train": count, "scores": scores_of(tau, half_width), "widened": []}


def zoo_entry(count, other_rows, is_permutable=True):
    return {
        "is_permutable": is_permutable,
        "num_networks": count,
        "excluded": {"3": "loss not finite at step 7"},
        "num_parts": {"train": count // 2, "validation": count // 4, "test": count // 4},
        "num_trainable": 1210,
        "target": {"mean": 0.8, "std": 0.125, "quantiles": [0.1, 0.75, 0.8, 0.9, 0.95]},
        "other_rows": other_rows,
    }


def made_run():
    """Return a run on two zoos, of which one has more networks; flat_mlp was fitted on fewer networks, too."""
    zoos = {"standard": zoo_entry(4000, {"tau": 0.82}), "w_asym, shared start": zoo_entry(2000, None, False)}
    cells = [cell("standard", "recipe", 2000, 0.5), cell("w_asym, shared start", "recipe", 1000, 0.625)]
    cells += [cell("standard", "hnp", 2000, 0.75, 0.0625), cell("w_asym, shared start", "hnp", 1000, 0.5, 0.25)]
    cells += [cell("standard", "flat_mlp", 2000, 0.25, 0.125), cell("w_asym, shared start", "flat_mlp", 1000, 0.75)]
    return MetanetRun(Path("run"), {"config": {"target": "test.accuracy"}}, zoos, cells)


def tables_of(made):
    return {
        table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        for table in metanet_tables(made)
    }


def test_tables_are_the_numbers_of_the_summary():
    tables = tables_of(made_run())
    standard, asym = tables["Zoos"]
    assert standard["set apart"] == "1" and standard["training / validation / test"] == "2,000 / 1,000 / 1,000"
    assert standard["quantiles"] == "0.100 0.750 0.800 0.900 0.950" and standard["std"] == "0.125"
    assert (standard["other rows"], asym["other rows"]) == ("0.820", "-")
    for title in ("Kendall's tau-b", "R2", "R2, recalibrated", "Mean absolute error"):
        rows = {(row["kind"], row["training networks"]): list(row.values())[2:] for row in tables[title]}
        assert rows["recipe", "2,000"] == ["0.500", "-"] and rows["recipe", "1,000"] == ["-", "0.625"]
        assert rows["hnp", "2,000"] == ["0.750 ± 0.062", "-"] and rows["hnp", "1,000"] == ["-", "0.500 ± 0.250"]


def test_what_was_published_stands_beside_ours_alone():
    (row,) = metanet_tables(made_run())[-1].rows
    assert row == ["standard", "flat_mlp", "0.250 ± 0.125", ".330 ± .04", "0.250 ± 0.125", ".389 ± .03"]
    made = made_run()
    unknown = made._replace(cells=[one for one in made.cells if one["metanet"] != "flat_mlp"])
    assert "Beside the paper" not in tables_of(unknown)
    of_barriers = made._replace(record={"config": {"target": "barrier"}})
    assert "Beside the paper" not in tables_of(of_barriers) and words(of_barriers) == []


def test_words_are_the_difference_at_the_most_training_of_each_zoo():
    made = made_run()
    made.cells.extend(cell("standard", name, 500, 0.1) for name in ("hnp", "flat_mlp"))
    first, second = words(made)
    assert first.startswith("standard: tau is 0.750 by hnp and 0.250 by flat_mlp; the difference, 0.500, is")
    assert second.startswith("w_asym, shared start: tau is 0.500 by hnp and 0.750 by flat_mlp; units may not")
    assert words(made._replace(cells=[one for one in made.cells if one["metanet"] != "hnp"])) == []


def test_figures_are_the_numbers_of_the_summary():
    made = made_run()
    for name in ("recipe", "hnp", "flat_mlp"):
        made.cells.extend([cell("standard", name, 500, 0.1, 0.05), cell("w_asym, shared start", name, 500, 0.2)])
    order, curves = plot_order(made), plot_curves(made)
    for figure in (order, curves):
        figure.draw_without_rendering()
        assert made.title.capitalize() in figure.get_suptitle()
    left, right = order.axes
    assert left.get_xlabel() == "tau, from 2,000"
    assert [label.get_text() for label in left.get_yticklabels()] == ["recipe", "hnp", "flat_mlp"]
    np.testing.assert_allclose(left.lines[2].get_xdata(), [0.6875, 0.75, 0.8125])
    np.testing.assert_allclose(left.lines[-1].get_xdata(), [0.82, 0.82])
    assert len(right.lines) == len(left.lines) - 1  # No tau of other rows.
    lines = {line.get_label(): line.get_xydata().tolist() for line in curves.axes[0].lines}
    assert lines["hnp"] == [[500, 0.1], [2000, 0.75]]


def test_wider_networks_stand_beside_those_that_they_came_from():
    made = made_run()
    wider = {"width": 32, "way": "split", "scores": scores_of(0.375, 0.125) | {"change": {"mean": 0.012}}}
    cells = {(one["zoo"], one["metanet"]): one for one in made.cells}
    cells["standard", "hnp"]["widened"] = [wider]
    cells["standard", "flat_mlp"]["widened"] = [{"width": 32, "way": "split", "reason": "there are 9 weights"}]
    first, second = metanet_tables(made)[5].rows
    assert first == ["hnp", "2,000", "32 split", "0.750", "0.375 ± 0.125", "0.375", "0.375", "0.012"]
    assert second == ["flat_mlp", "2,000", "32 split", "0.250", "-", "-", "-", "-"]
    assert words(made)[-1] == "standard: flat_mlp cannot read networks of width 32: there are 9 weights."
    figure = plot_widened(made)
    figure.draw_without_rendering()
    before, after = figure.axes[0].lines
    np.testing.assert_array_equal(before.get_xydata(), [[0.5, 0], [0.75, 1], [0.25, 2]])
    np.testing.assert_array_equal(after.get_xydata(), [[0.375, 1]])


def test_runs_from_before_networks_were_widened_are_read(tmp_path):
    made = made_run()
    path = make_record(tmp_path / "run", target="test.accuracy")
    cells = [{name: value for name, value in one.items() if name != "widened"} for one in made.cells]
    (path / "summary.json").write_text(json.dumps({"zoos": made.zoos, "cells": cells}))
    found = read_metanets(path)
    assert tables_of(found) == tables_of(made) and found.cells == made.cells
