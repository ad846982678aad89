"""Dose and response: what varies, and how the variance of barriers is split."""

import numpy as np
import pytest

from asymjax.experiments.linear_connectivity.dose_response import (
    doses,
    plot_varied,
    variance_shares,
    variance_table,
    varied_setting,
)
from asymjax.experiments.linear_connectivity.figures import read_connectivity
from asymjax.experiments.linear_connectivity.report import FIGURES, NEEDS
from asymjax.report.sections import figures_of
from asymjax.report.style import kind_colors

ARCHS = ("standard", "w_asym", "pruned")


@pytest.fixture
def varied(make_connectivity):
    """Make a run in which w_asym and pruned are two values of one method."""

    def make(setting):
        def edit(summary, config):
            for name, value in (("w_asym", 0.5), ("pruned", 2.0)):
                summary["kinds"][name] |= {"arch": "w_asym", "varied": [setting, value]}

        return read_connectivity(make_connectivity(archs=ARCHS, edit=edit))

    return make


def test_kinds_that_vary_are_gathered_by_method(varied):
    run = varied("fixed_scale")
    assert varied_setting(run) == "fixed_scale"
    assert [tuple(dose) for dose in doses(run)] == [("w_asym", [0.5, 2.0], ["w_asym", "pruned"])]
    figure = plot_varied(run)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0.5", "2"]
    assert variance_table(run) is None
    assert "varied" in figures_of(FIGURES, NEEDS, run)


def test_runs_in_which_nothing_varies_have_no_such_figure(make_connectivity):
    run = read_connectivity(make_connectivity(archs=ARCHS))
    assert varied_setting(run) == "" and "varied" not in figures_of(FIGURES, NEEDS, run)


def test_masks_have_their_share_of_the_variance(varied):
    (row,) = variance_table(varied("mask_seed")).rows
    assert row[:2] == ["w_asym", "2"]
    assert sum(map(float, row[-3:])) == pytest.approx(1, abs=0.02)


def test_variance_is_split_as_it_was_made():
    generator = np.random.default_rng(0)
    made = np.array([4.0, 1.0, 0.25])
    rows, columns = 2 * generator.standard_normal((400, 1)), generator.standard_normal((1, 400))
    values = rows + columns + 0.5 * generator.standard_normal((400, 400))
    # 400 rows and columns: each share is known to some 7 %.
    np.testing.assert_allclose(variance_shares(values), made / made.sum(), atol=0.07)
    np.testing.assert_allclose(variance_shares(np.broadcast_to(rows, (400, 5))), [1, 0, 0], atol=1e-12)


def test_kinds_that_vary_are_shades_and_others_have_colours_of_their_own(varied):
    colors = kind_colors(varied("fixed_scale").kinds)
    assert len(set(colors.values())) == 3
    assert colors["pruned"] == "#0072b2"  # The last value has the method's own colour.
