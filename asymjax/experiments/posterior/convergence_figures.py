"""Figures of convergence: traces with their ranks, and the statistics of all coordinates in both spaces."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata

from asymjax.experiments.posterior.finished import Run
from asymjax.report import style
from asymjax.report.table import number


@style.styled
def plot_traces(run: Run) -> Figure:
    """Draw the traces of a run, and the histogram of each chain's ranks among the draws of all chains.

    Chains that explore the same distribution have flat rank histograms (Vehtari et al. 2021, section 4.3).
    """
    row_height = float(np.clip(0.1 * len(run.traces[0].values), 1.15, 2))
    figure = style.new_figure(style.PAGE_WIDTH, 0.5 + row_height * len(run.traces), run.title, run.size)
    axes = figure.subplots(len(run.traces), 2, width_ratios=(3, 1), sharex="col", squeeze=False)
    for trace, (left, right) in zip(run.traces, axes, strict=True):
        numbers = "   R-hat {rhat:.3f}, bulk ESS {ess_bulk:,.0f}".format(**trace.statistics) if trace.statistics else ""
        left.set_title(trace.label + numbers)
        left.set_ylabel(trace.quantity)
        for chain, values in enumerate(trace.values):
            color = style.CHAINS[chain % len(style.CHAINS)]
            left.plot(values, color=color, linewidth=0.6, alpha=0.8, rasterized=True)
        _draw_ranks(right, trace.values)
    figure.align_ylabels(axes[:, 0])
    axes[0, 1].set_title("ranks")
    axes[-1, 0].set_xlabel("draw")
    axes[-1, 0].set_xlim(0, run.traces[0].values.shape[1] - 1)
    axes[-1, 1].set_xlabel("rank among all draws")
    return figure


def _draw_ranks(axes: Axes, values: np.ndarray) -> None:
    """Draw a rank histogram for each chain [chain, draw] above its own base line; dashed where ranks are uniform."""
    num_chains, num_draws = values.shape
    num_bins = int(np.clip(num_draws // 10, 5, 20))
    ranks = rankdata(values).reshape(values.shape)  # Ties averaged, as in R-hat.
    edges = np.linspace(0.5, values.size + 0.5, num_bins + 1)
    counts = np.stack([np.histogram(row, edges)[0] for row in ranks])
    height = 0.85 / counts.max()
    for chain, row in enumerate(counts):
        color = style.CHAINS[chain % len(style.CHAINS)]
        axes.bar(edges[:-1], height * row, np.diff(edges), chain, align="edge", color=color, alpha=0.75, linewidth=0)
        uniform = chain + height * num_draws / num_bins
        axes.plot(edges[[0, -1]], [uniform, uniform], color=style.BLACK, linewidth=0.6, linestyle=style.DASHES)
    axes.set_ylabel("chain")
    labelled = range(0, num_chains, 1 + num_chains // 9)
    axes.set_yticks([chain + 0.4 for chain in labelled], map(str, labelled))
    axes.tick_params(left=False)
    axes.set_xlim(0, values.size)
    axes.set_ylim(0, num_chains)


@style.styled
def plot_convergence(run: Run) -> Figure:
    """Draw how R-hat and both effective sample sizes are distributed over the coordinates of each space."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.6, run.title, run.size)
    rhat, bulk, tail = figure.subplots(1, 3)
    _draw_distributions(rhat, run, "rhat", "max", ".3f")
    _draw_distributions(bulk, run, "ess_bulk", "min", ",.0f")
    _draw_distributions(tail, run, "ess_tail", "min", ",.0f")
    style.rhat_axis(rhat)
    style.ess_axis(bulk)
    style.ess_axis(tail)
    rhat.set(xlabel=f"R-hat {style.RHAT_SCALE}", ylabel="share of coordinates")
    bulk.set_xlabel("bulk ESS (draws)")
    tail.set_xlabel("tail ESS (draws)")
    figure.legend(*rhat.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_distributions(axes: Axes, run: Run, statistic: str, worst: str, form: str) -> None:
    """Draw one statistic of all coordinates that are not constant, the spaces over each other."""
    found = {space: run.diagnostics[f"{space}/{statistic}"] for space in run.spaces}
    values = {space: value[~np.isnan(value)] for space, value in found.items()}
    if statistic == "rhat":
        values = {space: style.place_rhat(value) for space, value in values.items()}
        low, high = style.place_rhat(style.RHAT_RANGE)
    else:
        pooled = np.concatenate([*values.values(), [style.ESS_THRESHOLD]])
        low, high = 0.95 * pooled.min(), 1.05 * pooled.max()
    titles = []
    for space, name in run.spaces.items():
        style.draw_shares(axes, values[space], np.geomspace(low, high, 41), style.SPACE_COLORS[space], name)
        summary = run.summary[space]
        median, extreme = summary[f"{statistic}_median"], summary[f"{statistic}_{worst}"]
        titles.append(f"{name.split()[0]}: {worst} {number(extreme, form)}, median {number(median, form)}")
    axes.set_title("\n".join(titles))
