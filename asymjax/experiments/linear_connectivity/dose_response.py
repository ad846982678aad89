"""What becomes of barriers as one setting varies: dose and response, and how much of the variance masks explain."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.experiments.linear_connectivity.figures import UNITS, ConnectivityRun
from asymjax.report import style
from asymjax.report.read import as_numbers
from asymjax.report.table import Table

VARIANCE_NOTE = (
    "Midpoint barriers of the test loss, mask seeds crossed with pairs of seeds: shares of the variance by the method "
    "of moments (two-way layout, one barrier a cell), negative ones set to zero. Pairs share networks."
)


class HasKinds(Protocol):
    """A run that compares kinds."""

    @property
    def kinds(self) -> Mapping[str, Any]:
        """Entry of each kind in the summary, with ``arch`` and ``varied``."""


class Dose(NamedTuple):
    """Kinds of one method, in the order of the value that varies.

    Attributes
    ----------
    arch : the method.
    values : the value of each kind.
    names : their names.
    """

    arch: str
    values: list[float]
    names: list[str]


def varied_setting(run: HasKinds) -> str:
    """Return the name of the setting that varies, or nothing."""
    return next((kind["varied"][0] for kind in run.kinds.values() if kind.get("varied")), "")


def doses(run: HasKinds) -> list[Dose]:
    """Return the kinds that vary, method by method."""
    found: dict[str, Dose] = {}
    for name, kind in run.kinds.items():
        if kind.get("varied"):
            dose = found.setdefault(kind["arch"], Dose(kind["arch"], [], []))
            dose.values.append(kind["varied"][1])
            dose.names.append(name)
    return list(found.values())


@style.styled
def plot_varied(run: ConnectivityRun) -> Figure:
    """Draw barrier and accuracy against the setting that varies, with 95 % intervals of the barrier."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.8, run.title, run.size)
    panels = figure.subplots(1, 2 if "accuracy" in run.metrics else 1, squeeze=False)[0]
    found = doses(run)
    values = sorted({value for dose in found for value in dose.values})
    for axes, draw in zip(panels, (_draw_barriers, _draw_accuracies), strict=False):
        for dose in found:
            draw(axes, run, dose, np.searchsorted(values, dose.values))
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlabel(varied_setting(run).replace("_", " "))
    panels[0].axhline(0, color=style.GREY, linewidth=0.7, zorder=0)
    panels[0].set_title(f"midpoint barrier of the test loss{UNITS[run.summary['task']]}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_barriers(axes: Axes, run: ConnectivityRun, dose: Dose, places: np.ndarray) -> None:
    color = style.ARCH_COLORS[dose.arch]
    kinds: list[Mapping[str, Any]] = [run.kinds[name] for name in dose.names]
    _draw_interval(axes, places, kinds, color=color, label=dose.arch, marker="o")
    if all(kind["aligned"] for kind in kinds):
        aligned = [kind["aligned"] for kind in kinds]
        _draw_interval(axes, places, aligned, color=color, label=f"{dose.arch}, aligned", marker="s", linestyle="--")


def _draw_interval(axes: Axes, places: np.ndarray, kinds: list[Mapping[str, Any]], **look: Any) -> None:
    statistics = [kind["barrier"]["test"]["loss"]["midpoint"] for kind in kinds]
    mean, low, high = (as_numbers([row[name] for row in statistics]) for name in ("mean", "low", "high"))
    axes.errorbar(places, mean, np.stack([mean - low, high - mean]), capsize=2, **look)


def _draw_accuracies(axes: Axes, run: ConnectivityRun, dose: Dose, places: np.ndarray) -> None:
    accuracies = [np.mean(as_numbers(run.kinds[name]["alone"]["test"]["accuracy"])) for name in dose.names]
    axes.plot(places, accuracies, color=style.ARCH_COLORS[dose.arch], marker="o")
    axes.set_title("mean test accuracy of the networks")


def variance_table(run: ConnectivityRun) -> Table | None:
    """Split the variance of the barriers between masks and the seeds of the networks; None unless mask seeds vary."""
    rows = [_variance_row(run, dose) for dose in doses(run)]
    found = [row for row in rows if row]
    if varied_setting(run) != "mask_seed" or not found:
        return None
    columns = ["kind", "masks", "pairs", "std", "share of masks", "share of pairs", "share of both together"]
    return Table("Variance of the barrier", VARIANCE_NOTE, columns, found)


def _variance_row(run: ConnectivityRun, dose: Dose) -> list[str] | None:
    of_masks = [run.arrays[f"{name}/test/loss/midpoint"] for name in dose.names]
    if len(of_masks) < 2 or len({len(barriers) for barriers in of_masks}) > 1 or len(of_masks[0]) < 2:
        return None
    barriers = np.stack(of_masks)
    shares = variance_shares(barriers)
    sizes = [str(size) for size in barriers.shape]
    return [dose.arch, *sizes, f"{barriers.std(ddof=1):.4f}", *(f"{share:.2f}" for share in shares)]


def variance_shares(values: np.ndarray) -> np.ndarray:
    """Return the shares of rows, columns and their interaction in the variance of ``values`` [row, column].

    Method of moments in a two-way random-effects layout with one value a cell; negative components are set to zero.
    """
    num_rows, num_columns = values.shape
    of_rows, of_columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = values - of_rows - of_columns + values.mean()
    rest_variance = np.square(rest).sum() / ((num_rows - 1) * (num_columns - 1))
    components = np.array(
        [
            of_rows.var(ddof=1) - rest_variance / num_columns,
            of_columns.var(ddof=1) - rest_variance / num_rows,
            rest_variance,
        ]
    ).clip(min=0)
    return components / components.sum()
