"""Figures: every one is drawn for every kind of run, and the numbers in them are right."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from asymjax.diagnostics import expected_calibration_error
from asymjax.experiments.posterior.comparison_figure import plot_comparison
from asymjax.experiments.posterior.convergence_figures import plot_traces
from asymjax.experiments.posterior.finished import read_run
from asymjax.experiments.posterior.predictive_figures import area_under_roc, bin_by_confidence, wilson_interval
from asymjax.experiments.posterior.report import FIGURES
from asymjax.report.read import read_each
from asymjax.report.sections import save_figure

RNG = np.random.default_rng(0)


def make_extreme(summary, diagnostics):
    """Chains that are stuck, coordinates that never move."""
    diagnostics["function_space/rhat"][:5] = np.inf
    summary["function_space"]["rhat_max"] = np.inf
    for name in ("rhat", "ess_bulk", "ess_tail"):
        diagnostics[f"weight_space/{name}"][:] = np.nan
    summary["weight_space"] = dict.fromkeys(summary["weight_space"], np.nan)


KINDS = {  # Plain runs are drawn by the test of the script.
    "from the prior, outputs only": {"has_map": False, "has_weights": False},
    "extreme": {"edit": make_extreme},
}


def texts(figure):
    return [figure.get_suptitle()] + [axes.get_title("left") for axes in figure.axes]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", FIGURES)
def test_every_figure_is_drawn(make_run, task, kind):
    run = read_run(make_run(task, **KINDS[kind]))
    for plot in FIGURES[task].values():
        figure = plot(run)
        figure.draw_without_rendering()
        title = figure.get_suptitle()
        assert run.title in title and run.size in title
        for axes in figure.axes:
            assert axes.has_data()


def test_traces_of_many_chains_label_some(make_run):
    figure = plot_traces(read_run(make_run(num_chains=20)))
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert labels == ["0", "3", "6", "9", "12", "15", "18"]


@pytest.mark.parametrize("task", FIGURES)
def test_titles_tell_the_numbers(make_run, task):
    run = read_run(make_run(task))
    summary = run.summary
    joined = {name: "\n".join(texts(plot(run))) for name, plot in FIGURES[task].items()}
    assert f"max {summary['function_space']['rhat_max']:.3f}" in joined["convergence"]
    assert f"min {summary['weight_space']['ess_tail_min']:.0f}" in joined["convergence"]
    assert f"R-hat {summary['weight_space']['rhat_max']:.3f}" in joined["traces"]
    figure, metric = ("reliability", "ece") if task == "classification" else ("predictions", "rmse")
    scores = [summary["test"][name][metric] for name in ("posterior", "ensemble")]
    for score in [*scores, summary["test"]["map_by_seed"][metric][0]]:
        assert f"{metric.upper()} {score:.3f}" in joined[figure]


def test_comparison_shows_what_there_is(make_run):
    runs = read_each(
        [make_run(), make_run(arch="w_asym", has_map=False, has_weights=False), make_run(arch="syre")], read_run
    )
    figure = plot_comparison(runs)
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["standard", "w_asym", "syre"]
    medians = [run.summary["function_space"]["ess_bulk_median"] for run in runs]
    drawn = [line.get_xdata()[0] for line in figure.axes[1].lines if len(line.get_xdata()) == 1]
    assert set(medians) < set(drawn)


def test_saved_figures_are_images_and_the_same_each_time(make_run, tmp_path):
    run = read_run(make_run())
    for folder in ("a", "b"):
        save_figure(FIGURES["classification"]["noise"](run), tmp_path / folder, "noise")
    png, pdf = ((tmp_path / "a" / f"noise.{kind}").read_bytes() for kind in ("png", "pdf"))
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
    assert pdf.startswith(b"%PDF") and len(pdf) > 5_000
    assert png == (tmp_path / "b" / "noise.png").read_bytes()
    assert pdf == (tmp_path / "b" / "noise.pdf").read_bytes()


def test_bins_hold_the_calibration_error():
    probability, targets = RNG.dirichlet(np.ones(4), 200), RNG.integers(0, 4, 200)
    bins = bin_by_confidence(probability, targets)
    error = np.sum(bins.num_inputs * np.abs(bins.accuracy - bins.confidence)) / 200
    assert error == pytest.approx(expected_calibration_error(probability, targets, 15), rel=1e-12)


def test_intervals_are_wilsons():
    for successes, trials in ((0, 5), (3, 7), (40, 41), (9, 9)):
        expected = binomtest(successes, trials).proportion_ci(method="wilson")
        found = wilson_interval(np.array(successes / trials), np.array(trials))
        np.testing.assert_allclose(found, (expected.low, expected.high), atol=1e-5)


def test_area_under_roc_counts_ties_by_half():
    negative, positive = RNG.integers(0, 5, 60) / 5, RNG.integers(1, 6, 40) / 5
    labels = np.repeat([0, 1], [60, 40])
    assert area_under_roc(negative, positive) == pytest.approx(roc_auc_score(labels, [*negative, *positive]))
