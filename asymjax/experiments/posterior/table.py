"""Tables that compare sampled posteriors."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from asymjax.experiments.posterior.finished import Run
from asymjax.report.read import as_numbers, labels
from asymjax.report.table import Table, number

Cell = Callable[[Run], str]


PREDICTOR_COLUMNS = {"map": "MAP, mean", "map_best": "MAP, best", "ensemble": "MAP ensemble", "posterior": "posterior"}


SHIFT_PREDICTORS = {"ensemble": "MAP ensemble", "posterior": "posterior"}


METRICS = {
    "classification": {"accuracy": "accuracy", "NLL (nats)": "nll", "ECE (15 bins)": "ece", "Brier score": "brier"},
    "regression": {"RMSE": "rmse", "LPPD (nats)": "lppd", "coverage error": "coverage_error"},
}


MODEL_NOTE = (
    "Fixed: constants among the effective weights. Fixed to free: scale of their part of the pre-activations over that "
    "of the trainable part under the prior, geometric mean over kernels (and range)."
)


TEST_NOTES = {
    "classification": "MAP: mean over the optima that were trained; best: the one with the lowest test NLL.",
    "regression": "Standardised units. MAP: mean over the optima that were trained; best: the one with the "
    "highest test LPPD. Coverage error: root mean square of level minus coverage, central intervals of 10 % to 90 %.",
}


CONVERGENCE_NOTE = (
    "Rank-normalised split R-hat (below 1.01 is good) and bulk ESS in draws (400 or more is good), over all "
    "coordinates: predictions on the probe inputs (function), trainable entries (weight)."
)


MODES_NOTE = (
    "Aligned: the units of every draw permuted to match one draw. Switches: draws of a chain whose permutation is not "
    "that of the draw before, mean over chains, an upper bound for changes of mode. Identity: share of draws that "
    "match as they are. Permutation share: of the trace of the covariance of weights. In place: share of the hidden "
    "units of two chains that a matching of activations maps to themselves, and what a random permutation keeps."
)


BARRIERS_NOTE = (
    "Barrier: of the log density, maximum on the straight path between last draws, mean over pairs of chains, in nats. "
    "Within chains: between first and last draw of each; permuted copies: between a draw and its copy with permuted "
    "units, another mode for certain. Mean network: -LPPD on test, at the mean of all draws and at that of one chain."
)


VARIANCE_NOTE = (
    "Over all chains and draws. Functions: of predictions ({kind}), summed over outputs, mean over test inputs. "
    "Weights: trace of the covariance of the trainable entries, and its share of that of the prior."
)


PREDICTIONS = {"classification": "probabilities", "regression": "means, standardised units"}


SHIFT_NOTE = (
    "First test rows, as they are (none) and corrupted, each corruption of one strength "
    "(asymjax/data/corruptions.py); posterior: draws thinned evenly."
)


OTHER_NOTE = (
    "Inputs of another kind: standard normal noise, and for images patches of photographs. Uncertainty: mean {kind} of "
    "the mixture. AUROC: chance that one of them has a higher one than a test input, 0.5 for what goes unnoticed; "
    "epistemic: by the part of it on which networks disagree."
)


UNCERTAINTIES = {"classification": "entropy (nats)", "regression": "variance (standardised units)"}


SAMPLING_NOTE = (
    "Draws: chains x kept draws of each. Step size and gradients: means over chains and draws. Cut: ended because they "
    "were as long as allowed, which costs effective draws."
)


FITS_NOTE = (
    "Means over fits, in nats. ELBO: bound on the log evidence, likelihood counted as the fit counts it; its standard "
    "error is that of the estimate of one fit. Information: what symmetrisation adds, which is part of the bound. "
    "Collapsed: hidden units whose KL to the prior is below 0.1."
)


COST_NOTE = "Gradients of the full data, all chains together; wall-clock seconds, resumed runs added up."


def _convergence(space: str, statistic: str, form: str) -> Cell:
    return lambda run: number((run.summary[space] or {}).get(statistic), form)


def _sampler(name: str, form: str) -> Cell:
    def cell(run: Run) -> str:
        value = run.summary["sampler"].get(name)  # Older runs lack newer numbers.
        return number(np.mean(as_numbers([value] if value is None else value)), form)  # No accept step, no rate.

    return cell


def _found(part: str, path: str, form: str) -> Cell:
    def cell(run: Run) -> str:
        value: Any = run.summary.get(part)
        for name in path.split("/"):
            value = None if value is None else value.get(name)  # Older runs lack newer numbers.
        return number(value, form)

    return cell


_mode, _variance = partial(_found, "modes"), partial(_found, "variance")


def _mean_network(kind: str) -> Cell:
    def cell(run: Run) -> str:
        scores = (run.summary["test"].get("mean_network") or {}).get(kind)
        return number(None if scores is None else -scores["lppd"], ".4f")

    return cell


def _within(run: Run) -> str:
    within = (run.summary.get("modes") or {}).get("within_barrier")
    return number(within and within["maximum"][-1], ",.0f")


def _seconds(name: str) -> Cell:
    return lambda run: number(run.summary["seconds"][name], ",.1f")


def _fixed_to_free(run: Run) -> str:
    """Write the geometric mean over kernels, and their range where they differ."""
    ratios = as_numbers(list(run.summary["fixed_to_free_ratio"].values()))
    with np.errstate(divide="ignore", invalid="ignore"):  # Nothing fixed, or nothing free.
        mean = np.exp(np.mean(np.log(ratios)))
    low, high = ratios.min(), ratios.max()
    spread = "" if low == high or np.isnan(low) else f" ({number(low, '.2f')} to {number(high, '.2f')})"
    return number(mean, ".2f") + spread


MODEL: dict[str, Cell] = {
    "dataset": lambda run: run.summary["dataset"],
    "backbone": lambda run: run.summary["backbone"],
    "trainable": lambda run: f"{run.summary['num_trainable']:,}",
    "fixed": lambda run: f"{run.summary['num_fixed']:,}",
    "fixed to free": _fixed_to_free,
    "train rows": lambda run: f"{run.summary['num_rows']['train']:,}",
    "test rows": lambda run: f"{run.summary['num_rows']['test']:,}",
}


CONVERGENCE: dict[str, Cell] = {
    "R-hat max, function": _convergence("function_space", "rhat_max", ".3f"),
    "R-hat max, weight": _convergence("weight_space", "rhat_max", ".3f"),
    "R-hat median, function": _convergence("function_space", "rhat_median", ".3f"),
    "R-hat median, weight": _convergence("weight_space", "rhat_median", ".3f"),
    "ESS min, function": _convergence("function_space", "ess_bulk_min", ",.0f"),
    "ESS min, weight": _convergence("weight_space", "ess_bulk_min", ",.0f"),
    "ESS median, function": _convergence("function_space", "ess_bulk_median", ",.0f"),
    "ESS median, weight": _convergence("weight_space", "ess_bulk_median", ",.0f"),
}


MODES: dict[str, Cell] = {
    "R-hat max, aligned": _mode("aligned_weight_space/rhat_max", ".3f"),
    "ESS min, aligned": _mode("aligned_weight_space/ess_bulk_min", ",.0f"),
    "switches": _mode("chambers/switches_mean", ",.1f"),
    "identity": _mode("chambers/identity_share", ".2f"),
    "permutation share": _mode("covariance/permutation_share", ".3f"),
    "in place, chains": _mode("units_in_place/between", ".2f"),
    "by chance": _mode("units_in_place/chance", ".2f"),
}


BARRIERS: dict[str, Cell] = {
    "barrier": _mode("barrier/maximum/mean", ",.0f"),
    "barrier, aligned": _mode("aligned_barrier/maximum/mean", ",.0f"),
    "within chains": _within,
    "permuted copies": _mode("permuted_barrier", ",.0f"),
    "mean network": _mean_network("raw"),
    "of a chain": _mean_network("own"),
    "mean network, aligned": _mean_network("aligned"),
}


VARIANCES: dict[str, Cell] = {
    "functions": _variance("functions", ".4g"),
    "weights": _variance("weights/total", ",.1f"),
    "weights, of prior": _variance("weights/ratio", ".3f"),
}


SAMPLING: dict[str, Cell] = {
    "draws": lambda run: "{} x {:,}".format(*run.traces[0].values.shape),
    "acceptance rate": _sampler("acceptance_rate", ".3f"),
    "step size": _sampler("step_size", ".3g"),
    "gradients a draw": _sampler("grad_evals_per_draw", ".1f"),
    "divergent draws": _sampler("num_divergent", ",.0f"),
    "trajectories cut": _sampler("cut_share", ".0%"),
}


FITS: dict[str, Cell] = {
    "ELBO": _sampler("elbo", ",.2f"),
    "best": lambda run: number(np.max(as_numbers(run.summary["sampler"].get("elbo", [None]))), ",.2f"),
    "standard error": _sampler("elbo_error", ".2g"),
    "KL to the prior": _sampler("kl", ",.2f"),
    "information of the order": _sampler("information", ",.2f"),
    "collapsed units": _sampler("num_collapsed", ",.1f"),
}


COST: dict[str, Cell] = {
    "gradients, warmup": _sampler("num_warmup_grad_evals", ",.0f"),
    "gradients, sampling": _sampler("num_grad_evals", ",.0f"),
    "compiling (s)": _seconds("compile"),
    "MAP (s)": _seconds("train"),
    "warmup (s)": _seconds("warmup"),
    "sampling (s)": _seconds("sample"),
}


def comparison_tables(runs: Sequence[Run]) -> list[Table]:
    """Compare runs of one task: a row a run, in tables that share their first column.

    Where predictors are compared there is a row a metric and run, so that methods stand under each other and the
    posterior beside the MAP networks that its chains start from.
    """
    names, task = labels(runs), runs[0].summary["task"]
    return [
        Table("Model", MODEL_NOTE, *_by_run(names, runs, MODEL)),
        Table("Test metrics", TEST_NOTES[task], *_by_metric(names, runs)),
        Table("Convergence", CONVERGENCE_NOTE, *_by_run(names, runs, CONVERGENCE)),
        *(_modes_tables(names, runs) if any(map(_has_modes, runs)) else []),
        Table("Variances", VARIANCE_NOTE.format(kind=PREDICTIONS[task]), *_by_run(names, runs, VARIANCES)),
        *_shift_tables(names, runs),
        *([Table("Fits", FITS_NOTE, *_by_run(names, runs, FITS))] if any(map(_has_bounds, runs)) else []),
        Table("Sampling", SAMPLING_NOTE, *_by_run(names, runs, SAMPLING)),
        Table("Cost", COST_NOTE, *_by_run(names, runs, COST)),
    ]


def _modes_tables(names: Sequence[str], runs: Sequence[Run]) -> list[Table]:
    return [
        Table("Modes", MODES_NOTE, *_by_run(names, runs, MODES)),
        Table("Barriers and mean networks", BARRIERS_NOTE, *_by_run(names, runs, BARRIERS)),
    ]


def _has_modes(run: Run) -> bool:
    return run.summary.get("modes") is not None


def _has_bounds(run: Run) -> bool:
    return "elbo" in run.summary["sampler"]


def _shift_tables(names: Sequence[str], runs: Sequence[Run]) -> list[Table]:
    """Compare posteriors and MAP ensembles under shift, where weights were kept; a row a shift and run."""
    shifts = [run.summary.get("shift") or {} for run in runs]
    task = runs[0].summary["task"]
    uncertainty = {"uncertainty": "total", "AUROC": "auroc_total", "AUROC, epistemic": "auroc_epistemic"}
    tables = [
        Table("Under shift", SHIFT_NOTE, *_by_shift(names, shifts, "corrupted", METRICS[task])),
        Table(
            "Other data", OTHER_NOTE.format(kind=UNCERTAINTIES[task]), *_by_shift(names, shifts, "other", uncertainty)
        ),
    ]
    return tables if any(shifts) else []


def _by_shift(
    names: Sequence[str], shifts: Sequence[Mapping[str, Any]], part: str, columns: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    found = [[(shift.get(kind) or {}).get(part, {}) for kind in SHIFT_PREDICTORS] for shift in shifts]
    inputs = dict.fromkeys(name for of_run in found for scores in of_run for name in scores)
    rows = [
        [which, name, *(number(scores.get(which, {}).get(key), ".3f") for key in columns.values() for scores in of_run)]
        for which in inputs
        for name, of_run in zip(names, found, strict=True)
    ]
    return ["inputs", "run", *(f"{name}, {who}" for name in columns for who in SHIFT_PREDICTORS.values())], rows


def _by_run(
    names: Sequence[str], runs: Sequence[Run], columns: Mapping[str, Cell]
) -> tuple[list[str], list[list[str]]]:
    rows = [[name, *(cell(run) for cell in columns.values())] for name, run in zip(names, runs, strict=True)]
    return ["run", *columns], rows


def _by_metric(names: Sequence[str], runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [metric, name, *(number((run.summary["test"].get(kind) or {}).get(key), ".4f") for kind in PREDICTOR_COLUMNS)]
        for metric, key in METRICS[runs[0].summary["task"]].items()
        for name, run in zip(names, runs, strict=True)
    ]
    return ["metric", "run", *PREDICTOR_COLUMNS.values()], rows
