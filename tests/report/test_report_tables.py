"""The table holds the numbers of the summaries."""

import json

import numpy as np
import pytest
from rich.console import Console

from asymjax.experiments.posterior.finished import read_run
from asymjax.experiments.posterior.table import comparison_tables
from asymjax.report.read import read_each
from asymjax.report.table import to_markdown, to_rich

PREDICTORS = {"MAP, mean": "map", "MAP, best": "map_best", "MAP ensemble": "ensemble", "posterior": "posterior"}
METRICS = {
    "classification": {"accuracy": "accuracy", "NLL (nats)": "nll", "ECE (15 bins)": "ece", "Brier score": "brier"},
    "regression": {"RMSE": "rmse", "LPPD (nats)": "lppd", "coverage error": "coverage_error"},
}


def markdown_rows(paths):
    """Rows of all Markdown tables as dictionaries from header to cell, by title of the table."""
    found = {}
    for table in comparison_tables(read_each(paths, read_run)):
        lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found[table.title] = [dict(zip(header, row, strict=True)) for row in rows]
    return found


def summaries(paths):
    return [json.loads((path / "summary.json").read_text()) for path in paths]


def value(cell):
    return float(cell.replace(",", ""))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_metrics_are_those_of_the_summaries(make_run, task):
    paths = [make_run(task), make_run(task, "sigma_asym")]
    rows = markdown_rows(paths)["Test metrics"]
    assert [row["run"] for row in rows] == ["standard", "sigma_asym"] * len(METRICS[task])
    for row, (metric, key), summary in zip(
        rows,
        [item for item in METRICS[task].items() for _ in paths],
        summaries(paths) * len(METRICS[task]),
        strict=True,
    ):
        assert row["metric"] == metric
        for column, name in PREDICTORS.items():
            assert value(row[column]) == pytest.approx(summary["test"][name][key], abs=5.1e-5)


def test_convergence_is_that_of_the_summaries(make_run):
    paths = [make_run(), make_run(arch="w_asym")]
    for row, summary in zip(markdown_rows(paths)["Convergence"], summaries(paths), strict=True):
        assert row.pop("run") == summary["arch"]
        assert len(row) == 8
        for column, cell in row.items():
            name, kind, space = column.replace(",", "").replace("R-hat", "rhat").replace("ESS", "ess_bulk").split()
            expected = summary[f"{space}_space"][f"{name}_{kind}"]
            assert value(cell) == pytest.approx(expected, abs=5.1e-4 if name == "rhat" else 0.51)


def test_model_sampling_and_cost_are_those_of_the_summaries(make_run):
    path = make_run(num_chains=3)
    (summary,), tables = summaries([path]), markdown_rows([path])
    (model,), (sampling,), (cost,) = (tables[title] for title in ("Model", "Sampling", "Cost"))
    assert (model["dataset"], model["backbone"]) == ("digits", "mlp")
    assert (value(model["trainable"]), value(model["fixed"])) == (summary["num_trainable"], summary["num_fixed"])
    assert model["fixed to free"] == "2.00 (0.50 to 8.00)"
    assert (model["train rows"], model["test rows"]) == ("120", "30")
    assert list(sampling.values()) == ["standard", "3 x 40", "0.875", "0.02", "45.2", "7", "25%"]
    assert (cost["gradients, warmup"], cost["gradients, sampling"]) == ("6,789", "12,345")
    seconds = {"compiling (s)": "compile", "MAP (s)": "train", "warmup (s)": "warmup", "sampling (s)": "sample"}
    for column, name in seconds.items():
        assert value(cost[column]) == pytest.approx(summary["seconds"][name], abs=0.051)


def test_modes_are_told_where_weights_were_kept(make_run):
    tables = markdown_rows([make_run()])
    (row,) = tables["Barriers and mean networks"]
    assert (row["mean network"], row["mean network, aligned"], row["barrier, aligned"]) == ("0.2500", "-", "-")
    (row,) = tables["Modes"]
    assert 1 < value(row["R-hat max, aligned"]) < 2
    assert "Modes" not in markdown_rows([make_run(has_weights=False)])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_shift_is_that_of_the_summaries(make_run, task):
    paths = [make_run(task), make_run(task, "w_asym", has_map=False)]
    tables, (first, second) = markdown_rows(paths), summaries(paths)
    shifted, other = tables["Under shift"], tables["Other data"]
    assert [(row["inputs"], row["run"]) for row in shifted[1:3]] == [("none", "w_asym"), ("noise", "standard")]
    for metric, key in METRICS[task].items():
        for column, kind in (("MAP ensemble", "ensemble"), ("posterior", "posterior")):
            expected = first["shift"][kind]["corrupted"]["noise"][key]
            assert value(shifted[2][f"{metric}, {column}"]) == pytest.approx(expected, abs=5.1e-4)
    assert other[1]["AUROC, MAP ensemble"] == "-"
    expected = second["shift"]["posterior"]["other"]["noise"]["auroc_epistemic"]
    assert value(other[1]["AUROC, epistemic, posterior"]) == pytest.approx(expected, abs=5.1e-4)


def test_runs_from_before_a_measurement_are_reported_without_it(make_run):
    def edit(summary, diagnostics):
        del summary["modes"], summary["shift"]

    assert not {"Modes", "Under shift", "Other data"} & set(markdown_rows([make_run(edit=edit)]))
    assert len(markdown_rows([make_run(), make_run(edit=edit)])["Modes"]) == 2


def test_what_was_not_measured_is_a_dash(make_run):
    tables = markdown_rows([make_run(has_weights=False, has_map=False)])
    (row,) = tables["Convergence"]
    assert [cell == "-" for column, cell in row.items() if column != "run"] == [False, True] * 4
    for row in tables["Test metrics"]:
        assert [row[column] == "-" for column in PREDICTORS] == [True, True, True, False]


def test_numbers_that_are_not_finite_are_a_dash(make_run):
    def edit(summary, diagnostics):
        summary["function_space"]["rhat_max"] = np.inf
        summary["weight_space"]["ess_bulk_min"] = np.nan
        summary["fixed_to_free_ratio"] = {"a": 0.0, "b": np.inf}

    tables = markdown_rows([make_run(edit=edit)])
    assert tables["Convergence"][0]["R-hat max, function"] == "-"
    assert tables["Convergence"][0]["ESS min, weight"] == "-"
    assert tables["Model"][0]["fixed to free"] == "-"


@pytest.mark.parametrize(
    ("ratios", "cell"), [([0.0, 0.0], "0.00"), ([1.5], "1.50"), ([0.0, 4.0], "0.00 (0.00 to 4.00)")]
)
def test_fixed_to_free_ratio(make_run, ratios, cell):
    def edit(summary, diagnostics):
        summary["fixed_to_free_ratio"] = {str(place): ratio for place, ratio in enumerate(ratios)}

    assert markdown_rows([make_run(edit=edit)])["Model"][0]["fixed to free"] == cell


def test_the_terminal_shows_every_cell(make_run):
    runs = read_each(
        [make_run(), make_run(arch="sigma_asym", num_fixed=[8, 8, 8], mask_kind="random_subsets")], read_run
    )
    for table in comparison_tables(runs):
        console = Console(width=120)
        with console.capture() as capture:
            console.print(to_rich(table))
        text = capture.get()
        for row in table.rows:
            assert all(word in text for cell in row for word in cell.split())
        assert all(word in text for header in table.columns for word in header.split())
