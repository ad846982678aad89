"""Reports of sweeps: which networks are replicates, figures, and the table of all combinations of settings."""

import json

import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.experiments.reports import write_report
from asymjax.experiments.train_sweep.figures import combinations, read_sweep
from asymjax.experiments.train_sweep.report import FIGURES, NEEDS
from asymjax.experiments.train_sweep.table import sweep_tables
from asymjax.report.sections import figures_of

RATES = {
    "learning_rate": [0.1, 0.1, 0.01, 0.01, 0.1, 0.1, 0.01, 0.01],
    "mask_seed": [0, 0, 0, 0, 1, 1, 1, 1],
    "seed": [0, 1] * 4,
}
GRID = {"arch=standard,widths=8": {"seed": [0, 1, 2]}, "arch=w_asym,widths=8": RATES}
AXES = ("arch=standard,w_asym", "learning_rate=0.1,0.01", "widths=8", "mask_seed=0:2")


def tables_of(path):
    """Rows as dictionaries from header to cell, by title of the table and kind."""
    return {
        table.title: {row[0]: dict(zip(table.columns[1:], row[1:], strict=True)) for row in table.rows}
        for table in sweep_tables(read_sweep(path))
    }


def test_networks_of_other_seeds_and_masks_are_replicates(make_sweep):
    found = combinations(read_sweep(make_sweep({"": RATES})))
    assert [(each.name, each.trained.tolist(), each.num_networks) for each in found] == [
        ("learning_rate 0.1", [0, 1, 4, 5], 4),
        ("learning_rate 0.01", [2, 3, 6], 4),  # The last network failed.
    ]


def test_drawn_recipes_are_no_combinations(make_sweep):
    def draw(summary):
        summary["coordinates"]["learning_rate"] = [0.1, 0.2, 0.3]

    run = read_sweep(make_sweep({"": {"seed": [0, 1, 2]}}, edit=draw))
    (only,) = combinations(run)
    assert (only.name, only.num_networks) == ("standard", 3)
    assert set(figures_of(FIGURES, NEEDS, run)) == {"networks", "settings"}


def test_tables_are_the_numbers_of_the_summary(make_sweep):
    path = make_sweep(GRID, grid=AXES)
    points = json.loads((path / "summary.json").read_text())["points"]
    tables = tables_of(path)
    assert list(tables) == ["Networks", "Loss", "Accuracy"]
    names = ["arch standard, widths 8", *(f"arch w_asym, widths 8, learning_rate {rate}" for rate in ("0.1", "0.01"))]
    assert list(tables["Networks"]) == list(tables["Accuracy"]) == names
    assert [(row["networks"], row["failed"]) for row in tables["Networks"].values()] == [
        ("3", "1"),
        ("4", "0"),
        ("4", "1"),
    ]
    trained = np.array(points["arch=w_asym,widths=8"]["test"]["accuracy"])[[2, 3, 6]]
    assert tables["Accuracy"][names[2]]["test"] == f"{trained.mean():.4f} ± {trained.std(ddof=1):.4f}"
    assert list(tables["Loss"][names[0]]) == ["training", "validation", "test"]


def test_what_was_not_measured_has_no_column(make_sweep):
    tables = tables_of(make_sweep({"": {"seed": [0, 1, 2]}}, task="regression", num_validation=0))
    assert list(tables) == ["Networks", "Loss"]
    assert list(tables["Loss"]["standard"]) == ["training", "test"]


def test_where_none_trained_there_is_a_dash(make_sweep):
    path = make_sweep({"": {"fixed_scale": [1, 2], "seed": [0, 0]}})
    tables = tables_of(path)
    assert [row["test"] for row in tables["Loss"].values()][1] == "-"
    write_report([path])


def test_of_very_many_the_best_on_validation_rows_are_shown(make_sweep):
    count = 300
    scales = np.linspace(0, 1, count)

    def order(summary):
        summary["validation"]["accuracy"] = list(scales)
        summary["test"]["accuracy"] = list(1 - scales)

    run = read_sweep(make_sweep({"": {"fixed_scale": list(scales), "seed": [0] * count}}, edit=order))
    first, *_ = sweep_tables(run)
    assert "The best 100 of 300, by the mean validation accuracy" in first.note
    shown = [row[0] for row in first.rows]
    assert shown[:2] == [f"fixed_scale {scale:g}" for scale in scales[[-2, -3]]]  # The last network failed.
    figure = figures_of(FIGURES, NEEDS, run)["networks"](run)
    assert "the best 40 of 300" in figure.get_suptitle()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_figure_is_drawn(make_sweep, task):
    run = read_sweep(make_sweep(GRID, task, grid=AXES))
    figures = figures_of(FIGURES, NEEDS, run)
    assert list(figures) == ["networks", "settings"]
    for plot in figures.values():
        plot(run).draw_without_rendering()
    assert "settings" not in figures_of(FIGURES, NEEDS, read_sweep(make_sweep({"": {"seed": [0, 1]}})))


def test_figures_show_the_networks_that_trained(make_sweep):
    run = read_sweep(make_sweep(GRID, grid=AXES))
    program = run.programs["arch=w_asym,widths=8"]
    dots, medians = figures_of(FIGURES, NEEDS, run)["settings"](run).axes[0].lines
    np.testing.assert_array_equal(dots.get_ydata(), program["test"]["accuracy"][:-1])
    expected = [np.median(program["test"]["accuracy"][rows]) for rows in ([2, 3, 6], [0, 1, 4, 5])]
    np.testing.assert_array_equal(medians.get_ydata(), expected)


def test_reports_are_written(make_sweep):
    path = make_sweep(GRID, grid=AXES)
    write_report([path])
    files = {f"{name}.{kind}" for name in ("networks", "settings") for kind in ("png", "pdf")}
    assert {file.name for file in (path / "figures").iterdir()} == files | {"table.md"}
    assert (path / "figures" / "table.md").read_text().startswith("## Sweep of mlp on digits\n")


def test_damaged_summaries_are_named(make_sweep):
    def lose(summary):
        del summary["points"]["arch=standard,widths=8"]["status"]

    with pytest.raises(InputError, match=r"summary.json lacks status of arch=standard,widths=8"):
        read_sweep(make_sweep(GRID, grid=AXES, edit=lose))
