"""Reports of linear connectivity: figures, tables, and what stands beside published numbers."""

import json

import numpy as np
import pytest
from rich.console import Console

from asymjax.errors import InputError
from asymjax.experiments.linear_connectivity.figures import plot_barriers, plot_curves, read_connectivity
from asymjax.experiments.linear_connectivity.report import FIGURES as CONNECTIVITY_FIGURES
from asymjax.experiments.linear_connectivity.report import NEEDS
from asymjax.experiments.linear_connectivity.symmetry_figures import plot_planes, plot_swap_costs
from asymjax.experiments.linear_connectivity.table import connectivity_tables
from asymjax.experiments.reports import write_report
from asymjax.models.presets import MODEL_PRESETS
from asymjax.report.sections import figures_of
from asymjax.report.table import to_rich

PAPER_MODEL = MODEL_PRESETS["paper_mlp_mnist"]


def tables_of(path):
    """Rows as dictionaries from header to cell, by title of the table."""
    return {
        table.title: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        for table in connectivity_tables(read_connectivity(path))
    }


def exclude(summary, config):
    summary["kinds"]["w_asym"]["excluded"] = {"4": "loss not finite at step 12"}


# Figures


@pytest.mark.parametrize("num_networks", [2, 4, 20])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_figure_is_drawn(make_connectivity, task, num_networks):
    run = read_connectivity(make_connectivity(task, ("standard", "w_asym", "pruned", "syre"), num_networks))
    figures = figures_of(CONNECTIVITY_FIGURES, NEEDS, run)
    assert figures.keys() == CONNECTIVITY_FIGURES.keys() - {"varied", "planes" if num_networks == 2 else ""}
    for plot in figures.values():
        figure = plot(run)
        figure.draw_without_rendering()
        assert run.title in figure.get_suptitle()


def test_curves_are_the_means_of_all_kinds(make_connectivity):
    run = read_connectivity(make_connectivity())
    figure = plot_curves(run)
    assert [axes.get_title("left") for axes in figure.axes] == [
        f"{split} {metric}"
        for split in ("test", "training")
        for metric in ("loss (nats)", "recalibrated loss (nats)", "accuracy")
    ]
    for axes, name in zip(figure.axes[:3], ("loss", "recalibrated_loss", "accuracy"), strict=True):
        for arch, line in zip(run.kinds, axes.lines, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), run.arrays[f"{arch}/test/{name}/curve_mean"])


def test_matrices_hold_the_barriers_of_all_pairs(make_connectivity):
    run = read_connectivity(make_connectivity(edit=exclude))
    figure = plot_barriers(run)
    for arch, axes in zip(run.kinds, figure.axes, strict=False):
        matrix = axes.images[0].get_array()
        pairs = run.arrays[f"{arch}/pairs"]
        for (first, second), midpoint, maximum in zip(
            pairs, run.arrays[f"{arch}/test/loss/midpoint"], run.arrays[f"{arch}/test/loss/maximum"], strict=True
        ):
            assert (matrix[second, first], matrix[first, second]) == (midpoint, maximum)
        assert f"{run.kinds[arch]['barrier']['test']['loss']['midpoint']['mean']:.3f}" in axes.get_title("left")
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["seed", "seed (without 4)"]


def test_planes_share_their_colours_and_name_their_networks(make_connectivity):
    run = read_connectivity(make_connectivity(archs=("standard", "sigma_asym")))
    panels = plot_planes(run).axes[:2]
    assert len({tuple(axes.collections[0].levels) for axes in panels}) == 1
    levels = panels[0].collections[0].levels
    losses = np.concatenate([run.arrays[f"{arch}/plane/loss"].ravel() for arch in run.kinds])
    np.testing.assert_allclose([levels[0], levels[-1]], [losses.min(), losses.max()], rtol=1e-6)
    np.testing.assert_allclose(levels[1:] / levels[:-1], levels[1] / levels[0])
    for arch, axes in zip(run.kinds, panels, strict=True):
        np.testing.assert_array_equal(axes.lines[1].get_xydata(), run.arrays[f"{arch}/plane/corners"])
        assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]


def test_swap_costs_are_drawn_for_the_kinds_that_have_them_and_runs_without_any_have_no_such_figure(make_connectivity):
    run = read_connectivity(make_connectivity(archs=("standard", "sigma_asym", "w_asym")))
    figure = plot_swap_costs(run)
    assert [axes.get_ylabel() for axes in figure.axes] == ["standard", "", "w_asym", ""]
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["dense_0", "dense_1"]
    without = read_connectivity(make_connectivity(archs=("sigma_asym",)))
    assert "swap_costs" not in figures_of(CONNECTIVITY_FIGURES, NEEDS, without)
    assert "Strength of asymmetry" not in [table.title for table in connectivity_tables(without)]


def test_runs_from_before_planes_and_strengths_are_still_read(make_connectivity):
    def forget(summary, config):
        for kind in summary["kinds"].values():
            del kind["plane"], kind["strength"]

    run = read_connectivity(make_connectivity(edit=forget))
    assert figures_of(CONNECTIVITY_FIGURES, NEEDS, run).keys() == {"curves", "barriers"}
    assert len(connectivity_tables(run)) == 3


# Tables


def test_tables_are_the_numbers_of_the_summary(make_connectivity):
    path = make_connectivity()
    kinds = json.loads((path / "summary.json").read_text())["kinds"]
    tables = tables_of(path)
    assert list(tables) == ["Barriers of the loss", "Fall of accuracy", "Networks", "Strength of asymmetry"]

    def cell(statistics, form=".4f"):
        return f"{statistics['mean']:{form}} ± {(statistics['high'] - statistics['low']) / 2:{form}}"

    for arch, loss, accuracy, networks in zip(kinds, *list(tables.values())[:3], strict=True):
        kind = kinds[arch]
        test, train = kind["barrier"]["test"], kind["barrier"]["train"]
        assert loss == {
            "kind": arch,
            "test accuracy": f"{np.mean(kind['alone']['test']['accuracy']):.4f}",
            "pairs": "6",
            "test: midpoint": cell(test["loss"]["midpoint"]),
            "test: maximum": cell(test["loss"]["maximum"]),
            "test: recalibrated midpoint": cell(test["recalibrated_loss"]["midpoint"]),
            "training: midpoint": cell(train["loss"]["midpoint"]),
        }
        assert accuracy["fall at the midpoint"] == cell(test["accuracy"]["midpoint"])
        assert accuracy["training: fall at the midpoint"] == cell(train["accuracy"]["midpoint"])
        assert (networks["networks"], networks["excluded"]) == ("4", "0")
        assert networks["distance"] == cell(kind["distance"], ".2f")
        assert networks["average: test accuracy"] == f"{kind['average']['test']['accuracy'][-1]:.4f}"


def test_strengths_are_means_over_networks(make_connectivity):
    path = make_connectivity()
    kinds = json.loads((path / "summary.json").read_text())["kinds"]
    rows = tables_of(path)["Strength of asymmetry"]
    assert [(row["kind"], row["layer"]) for row in rows] == [(k, d) for k in kinds for d in ("dense_0", "dense_1")]
    for row in rows:
        values = kinds[row["kind"]]["strength"]["layers"][f"{row['layer']}/kernel"]
        assert row["swap cost: median"] == f"{np.mean(values['swap_cost_median']):.3f}"
        assert row["negative"] == f"{np.mean(values['share_negative']):.1%}"
        assert row["distance"] == f"{np.mean(values['distance']):.3f}"


@pytest.mark.parametrize("has_starts", [False, True])
def test_aligned_barriers_have_a_column_once_there_are_any(make_connectivity, has_starts):
    def align(summary, config):
        kind = summary["kinds"]["standard"]
        kind["aligned"] = {"barrier": kind["barrier"]}
        if has_starts:
            kind["aligned"]["matching"] = {"best": {"mean": 12.3456}, "spread": {"mean": 0.0123}}

    path = make_connectivity(edit=align)
    standard, w_asym = tables_of(path)["Networks"]
    matching = {name: value for name, value in standard.items() if name.startswith("matching")}
    assert matching == ({"matching: objective": "12.35", "matching: spread": "1.23%"} if has_starts else {})
    assert [w_asym[name] for name in matching] == ["-"] * len(matching)
    standard, w_asym = tables_of(path)["Barriers of the loss"]
    assert standard["test: aligned midpoint"] == standard["test: midpoint"]
    assert w_asym["test: aligned midpoint"] == "-"
    assert "Aligned: " in connectivity_tables(read_connectivity(path))[0].note


def test_one_pair_has_no_interval_and_a_regression_no_accuracy(make_connectivity):
    tables = tables_of(make_connectivity("regression", num_networks=2))
    assert list(tables) == ["Barriers of the loss", "Networks", "Strength of asymmetry"]
    for row in tables["Barriers of the loss"]:
        assert list(row) == ["kind", "pairs", "test: midpoint", "test: maximum", "training: midpoint"]
        assert "nan" not in "".join(row.values()) and "±" not in row["test: midpoint"]


def test_excluded_networks_are_counted_and_named(make_connectivity):
    path = make_connectivity(edit=exclude)
    assert [row["excluded"] for row in tables_of(path)["Networks"]] == ["0", "1"]
    note = connectivity_tables(read_connectivity(path))[2].note
    assert note.endswith("Excluded: w_asym seed 4, loss not finite at step 12.")


def test_published_numbers_stand_beside_the_same_model_alone(make_connectivity):
    assert "Beside the paper" not in tables_of(make_connectivity(dataset="mnist"))
    assert "Beside the paper" not in tables_of(make_connectivity(model=PAPER_MODEL))

    def settle(summary, config):
        midpoints = {"standard": (0.2, 0.15, 0.25), "w_asym": (-0.01, -0.011, -0.009)}
        for arch, (mean, low, high) in midpoints.items():
            statistics = {"mean": mean, "std": 0.03, "low": low, "high": high}
            summary["kinds"][arch]["barrier"]["test"]["loss"]["midpoint"] = statistics
        config["kinds"]["standard"]["optimizer"]["num_epochs"] = 5

    path = make_connectivity(dataset="mnist", model=PAPER_MODEL, edit=settle)
    rows = [list(row.values()) for row in tables_of(path)["Beside the paper"]]
    assert rows == [
        ["standard", "0.188", "0.12", "standard", "0.2000", "0.0300", "0.1500 to 0.2500", "within"],
        ["standard + Git Re-Basin", "-0.006", "0.00", "standard", "-", "-", "-", "-"],
        ["sigma-Asym", "0.117", "0.01", "sigma_asym", "-", "-", "-", "-"],
        ["W-Asym", "-0.012", "0.00", "w_asym", "-0.0100", "0.0300", "-0.0110 to -0.0090", "outside"],
    ]
    note = connectivity_tables(read_connectivity(path))[-1].note
    assert "What was different here: standard: num_epochs 5 instead of 25; " in note and "weight_decay" not in note


def test_another_gate_scale_stands_beside_the_paper_and_is_named(make_connectivity):
    def soften(summary, config):
        config["kinds"]["standard"]["model"] = config["kinds"]["sigma_asym"]["model"] | {"gate_scale": "inv_sqrt"}

    path = make_connectivity(archs=("standard", "sigma_asym"), dataset="mnist", model=PAPER_MODEL, edit=soften)
    rows = [(row["published"], row["kind"]) for row in tables_of(path)["Beside the paper"]]
    assert rows[-3:-1] == [("sigma-Asym", "standard"), ("sigma-Asym", "sigma_asym")]
    assert "standard: gate_scale inv_sqrt instead of 1.0; " in connectivity_tables(read_connectivity(path))[-1].note


def test_the_terminal_shows_every_cell(make_connectivity):
    run = read_connectivity(make_connectivity(archs=("standard", "sigma_asym"), dataset="mnist", model=PAPER_MODEL))
    for table in connectivity_tables(run):
        console = Console(width=120)
        with console.capture() as capture:
            console.print(to_rich(table))
        assert all(word in capture.get() for row in table.rows for cell in row for word in cell.split())


# Files


def test_reports_go_by_the_experiment(make_connectivity, make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CONNECTIVITY_FIGURES, "barriers", plot_curves)
    path = make_connectivity()
    write_report([path])
    files = {f"{name}.{kind}" for name in CONNECTIVITY_FIGURES.keys() - {"varied"} for kind in ("png", "pdf")}
    assert {file.name for file in (path / "figures").iterdir()} == files | {"table.md"}
    text = (path / "figures" / "table.md").read_text()
    assert text.startswith("## Linear paths of mlp on digits\n")
    assert f"- **linear paths of mlp on digits**: `{path}`; `lmc.py --archs standard w_asym`" in text


def test_tables_of_both_experiments_share_a_document(make_connectivity, make_run, tmp_path, monkeypatch):
    from asymjax.experiments.posterior.report import FIGURES

    monkeypatch.setitem(FIGURES, "classification", {})
    for name in list(CONNECTIVITY_FIGURES):
        monkeypatch.delitem(CONNECTIVITY_FIGURES, name)
    write_report([make_connectivity(), make_run()], tmp_path / "out")
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.index("## Classification") < text.index("## Linear paths of mlp on digits")


def test_runs_that_cannot_be_reported_are_named(make_connectivity):
    path = make_connectivity()
    record = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(record | {"experiment": "bnn_none"}))
    with pytest.raises(InputError, match=r"holds a run of bnn_none; there are reports of bnn_hmc, .*, and of grids"):
        write_report([path])
    path = make_connectivity(edit=lambda summary, config: summary.pop("kinds"))
    with pytest.raises(InputError, match=r"summary.json lacks kinds"):
        read_connectivity(path)
    path = make_connectivity()
    (path / "results.zarr/kinds/points/c/0").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"results.zarr/kinds/points is damaged"):
        read_connectivity(path)
