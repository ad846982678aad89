"""Reports of studies of posteriors: figures, tables, and what is left out."""

import json

import numpy as np
import pytest
from rich.console import Console

from asymjax.experiments.compare_posteriors.figures import distance_matrix, read_study
from asymjax.experiments.compare_posteriors.report import FIGURES, NEEDS
from asymjax.experiments.compare_posteriors.table import study_tables
from asymjax.experiments.reports import write_report
from asymjax.lab.run_files import dumps
from asymjax.report.sections import figures_of
from asymjax.report.table import to_rich

METHODS = {arch: (arch, None) for arch in ("standard", "w_asym", "sigma_asym", "pruned", "syre")}
DOSES = {"standard": ("standard", None)} | {
    f"w_asym-fixed_scale-{value}": ("w_asym", ["fixed_scale", value]) for value in (0.25, 0.5, 1.0)
}


ARCHS = ("standard", "w_asym")
SAMPLERS = ("hmc", "meanfield", "meanfield,symmetrise=bethe")


@pytest.mark.parametrize(
    ("arms", "samplers", "task"),
    [(METHODS, (), "classification"), (DOSES, (), "classification"), (DOSES, SAMPLERS, "regression")],
)
def test_every_figure_is_drawn_and_every_number_is_whole(make_study, arms, samplers, task):
    path = make_study(arms, samplers=samplers, task=task)
    run = read_study(path)
    figures = figures_of(FIGURES, NEEDS, run)
    assert ("varied" in figures) == (arms is DOSES) and ("fits" in figures) == bool(samplers)
    write_report([path], path / "report")
    assert {f"{name}.png" for name in figures} <= {file.name for file in (path / "figures").iterdir()}
    console = Console(width=120)
    for table in study_tables(run):
        with console.capture() as capture:
            console.print(to_rich(table))
        words = set(capture.get().split())
        assert {word for row in table.rows for cell in row[1:] for word in cell.split()} <= words
        assert {part for row in table.rows for part in row[0].split()} <= words


def test_a_difference_is_marked_where_it_holds_alone_and_where_it_holds_among_all(make_study):
    path = make_study(METHODS)
    summary = json.loads((path / "summary.json").read_text())
    metrics = summary["arms"]["w_asym"]["metrics"]
    cases = {"nll": (0.001, 0.04), "ece": (0.04, 0.2), "accuracy": (0.2, 1.0), "map_nll": (None, None)}
    for metric, (alone, corrected) in cases.items():
        interval = {"mean": 0.5, "std": 1, "low": 0.25, "high": 0.75}
        metrics[metric]["difference"] = interval | {"p_value": alone, "p_holm": corrected}
    metrics["ensemble_nll"]["difference"] = {"mean": 0, "std": 0, "low": 0, "high": 0}
    (path / "summary.json").write_text(dumps(summary))
    (table,) = [table for table in study_tables(read_study(path)) if table.title == "Differences to standard"]
    cells = {row[0].removeprefix("Test: "): row[table.columns.index("w_asym")] for row in table.rows}
    names = ("NLL", "ECE", "accuracy", "NLL, MAP", "NLL, ensemble")
    interval = "0.5000 ± 0.2500"
    assert [cells[name] for name in names] == [f"{interval} **", f"{interval} *", interval, interval, "0.0000 (all)"]
    assert "out of the 3 that are tested" in table.note


def test_families_stand_beside_hmc_and_beside_meanfield(make_study):
    run = read_study(make_study({"standard": ("standard", None), "w_asym": ("w_asym", None)}, samplers=SAMPLERS))
    tables = {table.title: table for table in study_tables(run)}
    names = ["standard hmc", "standard meanfield", "standard meanfield, symmetrise=bethe"]
    assert [row[0] for row in tables["Fits"].rows[:3]] == names and tables["Fits"].rows[0][1:] == ["-"] * 4
    held = tables["Against HMC"]
    assert held.columns[-2:] == ["variance, functions", "variance, weights"]
    assert [row[held.columns.index("TV, between")] for row in held.rows] == ["0.1250"] * 6
    beside = tables["Families beside meanfield"]
    assert [row[0] for row in beside.rows] == [f"{arch} {SAMPLERS[2].replace(',', ', ')}" for arch in ARCHS]
    assert all(cell.endswith(" **") for row in beside.rows for cell in row[1:]) and "the 6 that" in beside.note
    for sampler in SAMPLERS:
        assert tables[f"Differences to standard, {sampler}"].columns == ["metric", "w_asym"]


def test_distances_are_means_over_different_repeats(make_study):
    run = read_study(make_study(METHODS))
    values = run.arrays["total_variation"]
    found = distance_matrix(run, "total_variation")
    assert found[1, 3] == pytest.approx(np.mean([values[1, 3, r, s] for r in range(3) for s in range(3) if r != s]))
