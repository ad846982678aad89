"""Reports of monotonic linear interpolation: figures, tables, and what stands beside published numbers."""

import json

import numpy as np
import pytest
from rich.console import Console

from asymjax.errors import InputError
from asymjax.experiments.monotonic_interpolation.figures import (
    normalised,
    plot_paths,
    plot_statistics,
    read_interpolation,
)
from asymjax.experiments.monotonic_interpolation.report import FIGURES as INTERPOLATION_FIGURES
from asymjax.experiments.monotonic_interpolation.table import interpolation_tables
from asymjax.experiments.published import PATHS_OPTIMIZER
from asymjax.experiments.reports import write_report
from asymjax.models.presets import MODEL_PRESETS
from asymjax.report.table import to_rich


def tables_of(path):
    """Rows as dictionaries from header to cell, by title of the table."""
    return {
        table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        for table in interpolation_tables(read_interpolation(path))
    }


# Figures


@pytest.mark.parametrize("archs", [("standard",), ("standard", "w_asym", "pruned", "syre", "sigma_asym")])
def test_every_figure_is_drawn(make_interpolation, archs):
    run = read_interpolation(make_interpolation(archs, num_networks=12))
    for plot in INTERPOLATION_FIGURES.values():
        figure = plot(run)
        figure.draw_without_rendering()
        assert run.title in figure.get_suptitle()


def test_curves_go_from_one_to_zero_and_those_that_do_not_fall_are_left_out():
    curves = np.array([[4.0, 5.0, 2.0], [1.0, 0.5, 1.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(normalised(curves), [[1, 1.5, 0]])


def test_paths_are_medians_of_the_networks(make_interpolation):
    def rise(summary, config, arrays):
        arrays["w_asym/train/loss/curves"][1, 0] = 0.0

    run = read_interpolation(make_interpolation(edit=rise))
    figure = plot_paths(run)
    losses, shapes = figure.axes[:2], figure.axes[2:]
    for arch, loss, shape in zip(run.kinds, losses, shapes, strict=True):
        curves = run.arrays[f"{arch}/train/loss/curves"]
        for axes, shown in ((loss, curves), (shape, normalised(curves))):
            lines = {line.get_label(): line.get_ydata() for line in axes.lines}
            np.testing.assert_allclose(lines["median"], np.median(shown, axis=0))
        assert loss.get_title("left") == f"{arch}:\n25% monotonic"
    assert [text.get_text() for text in shapes[1].texts] == ["1 without a fall"]


def test_statistics_are_those_of_the_networks(make_interpolation):
    run = read_interpolation(make_interpolation())
    values = plot_statistics(run).axes[0].lines[0].get_xdata()
    np.testing.assert_array_equal(values, run.arrays["standard/train/delta"])


# Tables


def test_tables_are_the_numbers_of_the_summary(make_interpolation):
    path = make_interpolation()
    kinds = json.loads((path / "summary.json").read_text())["kinds"]
    tables = tables_of(path)
    assert list(tables) == ["Loss from start to end", "Networks", "Beside the paper"]
    rows = {(row.pop("metric"), row.pop("kind")): list(row.values()) for row in tables["Loss from start to end"]}
    names = ["delta", "share monotonic", "local convexity", "global convexity", "global, released rule"]
    assert list(rows) == [(name, arch) for name in names for arch in kinds]
    for arch, kind in kinds.items():
        assert rows["share monotonic", arch] == ["0.250", "-", "0.125 to 0.500"] * 2
        found = [kind["statistics"][split]["global_convexity"] for split in ("train", "test")]
        expected = [[f"{s['mean']:.3f}", f"{s['std']:.3f}", f"{s['low']:.3f} to {s['high']:.3f}"] for s in found]
        assert rows["global convexity", arch] == [*expected[0], *expected[1]]
    for arch, row in zip(kinds, tables["Networks"], strict=True):
        assert row["test accuracy"] == f"{np.mean(kinds[arch]['trained']['test']['accuracy']):.4f}"
        assert row["training loss: start"] == f"{np.mean(kinds[arch]['initial']['train']['loss']):.4f}"


def test_excluded_networks_are_counted_and_named(make_interpolation):
    def exclude(summary, config, arrays):
        summary["kinds"]["w_asym"]["excluded"] = {"4": "loss not finite at step 12", "7": "loss not finite at 0.5"}

    path = make_interpolation(edit=exclude)
    assert [row["excluded"] for row in tables_of(path)["Networks"]] == ["0", "2"]
    note = interpolation_tables(read_interpolation(path))[1].note
    assert note.endswith("w_asym seed 4, loss not finite at step 12; w_asym seed 7, loss not finite at 0.5.")


def test_published_numbers_stand_above_ours(make_interpolation):
    rows = tables_of(make_interpolation())["Beside the paper"]
    assert [(row["kind"], row["whose"]) for row in rows] == [
        ("standard", "paper"),
        ("standard", "ours"),
        ("sigma-Asym", "paper"),
        ("W-Asym", "paper"),
        ("w_asym", "ours"),
    ]
    assert list(rows[0].values())[2:] == ["300", "0.079 ± 0.109", "26.3", "0.548 ± 0.139", "0.823 ± 0.229", "-"]
    assert rows[1]["monotonic (%)"] == "25.0"


def test_what_differs_from_the_paper_is_said(make_interpolation):
    def follow_the_paper(summary, config, arrays):
        models = MODEL_PRESETS["paper_resnet8_metanet"]
        for arch, kind in config["kinds"].items():
            kind |= {
                "model": json.loads(json.dumps(models.of(arch).record())),
                "optimizer": PATHS_OPTIMIZER | {"num_epochs": 25},
            }

    def note(*arguments, **settings):
        return interpolation_tables(read_interpolation(make_interpolation(*arguments, **settings)))[-1].note

    for word in ("digits instead of CIFAR-10", "another network (mlp)", "recipe shared instead of drawn", "flips"):
        assert word in note()
    followed = note(dataset="cifar10", edit=follow_the_paper)
    assert "45,000 training rows instead of 50,000" in followed and "flips" in followed
    assert not any(word in followed for word in ("CIFAR-10;", "another network", "recipe", "learning_rate"))


def test_the_terminal_shows_every_cell(make_interpolation):
    run = read_interpolation(make_interpolation(("standard", "w_asym", "sigma_asym")))
    for table in interpolation_tables(run):
        console = Console(width=120)
        with console.capture() as capture:
            console.print(to_rich(table))
        assert all(word in capture.get() for row in table.rows for cell in row for word in cell.split()), table.title


# Files


def test_reports_are_written(make_interpolation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_interpolation()
    write_report([path])
    files = {f"{name}.{kind}" for name in INTERPOLATION_FIGURES for kind in ("png", "pdf")}
    assert {file.name for file in (path / "figures").iterdir()} == files | {"table.md"}
    assert (path / "figures" / "table.md").read_text().startswith("## Paths from the start of mlp on digits\n")


def test_damaged_runs_are_named(make_interpolation):
    path = make_interpolation(edit=lambda summary, config, arrays: arrays.pop("w_asym/test/delta"))
    with pytest.raises(InputError, match=r"results.zarr/kinds lacks w_asym/test/delta"):
        read_interpolation(path)
