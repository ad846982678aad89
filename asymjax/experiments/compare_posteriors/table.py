"""Tables of a study of posteriors: arm by arm, and differences to the standard network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from asymjax.experiments.compare_posteriors.figures import StudyRun, lags_of
from asymjax.experiments.linear_connectivity.table import interval
from asymjax.report.table import Table, number

Columns = Mapping[str, tuple[str, str]]
"""Header -> name of the metric, and the form of its number."""

REPEATS_NOTE = (
    "Means over {num_repeats} repeats, plus or minus half their 95 % interval (Student's t); (all) where all are equal."
)
FUNCTION_NOTE = (
    "Rank-normalised split R-hat, maximum, and bulk ESS, minimum and median, over predictions on the probe inputs; ESS "
    "per 1,000 gradients of the draws, warmup apart."
)
BUDGET_NOTE = (
    "Of each run the draws that take no more than {budget:,.0f} gradients, warmup included, the fewest that any run "
    "has in all; a dash where a repeat has too few draws by then."
)
WEIGHT_NOTE = (
    "Trainable entries, all draws; divergent draws of a run. As drawn and aligned: effective weights of at most 100 "
    "draws a chain, evenly spaced, as they are and with units permuted to match one draw, what is fixed along."
)
MODES_NOTE = (
    "Of at most 100 draws a chain, evenly spaced. Permutation share: of the trace of the covariance of weights. "
    "Switches: draws of a chain that another permutation aligns than the one before; chambers: different permutations "
    "of all draws; both are upper bounds. Identity: share of draws that match as they are."
)
BARRIERS_NOTE = (
    "Of the log density, maximum on the straight path, in nats: between last draws of chains, and by how much that is "
    "above the one within chains at the largest lag; between a draw and its copy with permuted units, another mode for "
    "certain."
)
WITHIN_NOTE = (
    "As above, between the last draw of a chain and the one so many draws before it, mean over chains. What lies "
    "between chains is a sign of modes of their own only where it is higher than this ever gets."
)
IN_PLACE_NOTE = (
    "Share of the hidden units that a matching of activations maps to themselves, between the same draws; a random "
    "permutation keeps {chance}. At that, units have no place of their own."
)
VARIANCE_NOTE = (
    "Over all chains and draws. Functions: of predictions, summed over outputs, mean over test inputs. Weights: trace "
    "of the covariance of the trainable entries, and its share of that of the prior."
)
TEST_NOTE = "NLL: negative LPPD in nats; MAP: mean over its networks."
ENTROPY_NOTE = "Entropy of the posterior's predictions on test inputs and on standard normal noise, in nats."
SHIFT_NOTE = "First 400 test inputs, corrupted, 25 draws a chain; means over the corruptions."
OTHER_NOTE = (
    "Of 25 draws a chain. AUROC with which the posterior's uncertainty, and the epistemic part of it alone, tells "
    "standard normal noise and patches of photographs from test inputs."
)
MEAN_NOTE = (
    "NLL of the network at the mean of at most 100 draws a chain, as drawn and aligned. Own chain: mean over the "
    "networks at the mean of each chain; above own: NLL less that."
)
DIFFERENCE_NOTE = (
    "Each arm less its standard arm, repeat by repeat, mean plus or minus half the 95 % interval (Student's t). Marked "
    "out of the {num_tests} that are tested: ** where the p-value of the paired t-test is at most 5 % after the "
    "correction for their number (Holm 1979), * where it is before it. The others are described."
)
PRIOR_NOTE = (
    "Scale of the output kernel's prior (--output-prior-scale), chosen so that outputs have the standard deviation of "
    "the standard network's under the prior: over 1,000 draws, at 100 training inputs (variances averaged; a Monte "
    "Carlo error of 1 to 2 %)."
)
PREDICTION_NOTE = (
    "Test inputs, means over pairs of different repeats: agreement, the share given the same class, and total "
    "variation (TV) of predictive distributions, within the repeats of one arm and to those of standard. Excess: "
    "squared distance of predictive distributions to standard less the mean of both within, with a 95 % interval "
    "(jackknife over repeats); around zero where predictions are the same up to Monte Carlo error."
)
REFERENCE_NOTE = "Each run against two HMC runs of the same arm, and these against each other (between)."
FLAT_NOTE = (
    "Mean bias of layers before a layer norm, which no output depends on: its variance over that under the prior, 1 "
    "along a flat direction, and its bulk ESS per 1,000 gradients beside the median over all weights."
)

FUNCTION: Columns = {
    "R-hat max": ("function_rhat_max", ".3f"),
    "ESS min": ("function_ess_min", ",.0f"),
    "ESS min per 1,000": ("function_ess_per_1000", ".3f"),
    "ESS median per 1,000": ("function_ess_median_per_1000", ".3f"),
    "gradients, warmup included": ("num_grad_evals_total", ",.0f"),
}
BUDGET: Columns = {
    "R-hat max": ("rhat_max_at_budget", ".3f"),
    "ESS min": ("ess_bulk_min_at_budget", ",.0f"),
    "test LPPD": ("lppd_at_budget", ".4f"),
    "gradients": ("num_grad_evals_at_budget", ",.0f"),
}
WEIGHT: Columns = {
    "R-hat median": ("weight_rhat_median", ".3f"),
    "R-hat max": ("weight_rhat_max", ".3f"),
    "R-hat max, as drawn": ("effective_rhat_max", ".3f"),
    "R-hat max, aligned": ("aligned_rhat_max", ".3f"),
    "ESS median per 1,000": ("weight_ess_median_per_1000", ".3f"),
    "divergent draws": ("num_divergent", ",.1f"),
}
MODES: Columns = {
    "permutation share": ("permutation_share", ".3f"),
    "switches": ("switches", ",.1f"),
    "identity": ("identity_share", ".3f"),
    "chambers": ("num_chambers", ",.0f"),
}
VARIANCE: Columns = {
    "functions": ("function_variance", ".4f"),
    "weights": ("weight_variance", ",.1f"),
    "weights, of prior": ("weight_variance_ratio", ".3f"),
}
TEST: Columns = {
    "NLL": ("nll", ".4f"),
    "NLL, ensemble": ("ensemble_nll", ".4f"),
    "NLL, MAP": ("map_nll", ".4f"),
    "accuracy": ("accuracy", ".4f"),
    "ECE": ("ece", ".4f"),
    "RMSE": ("rmse", ".4f"),
    "coverage error": ("coverage_error", ".4f"),
}
ENTROPY: Columns = {"test": ("test_entropy", ".3f"), "noise": ("noise_entropy", ".3f")}
SHIFT: Columns = {
    "NLL": ("corrupted_nll", ".3f"),
    "accuracy": ("corrupted_accuracy", ".3f"),
    "ECE": ("corrupted_ece", ".3f"),
    "RMSE": ("corrupted_rmse", ".3f"),
}
OTHER: Columns = {
    "noise": ("noise_auroc", ".3f"),
    "noise, epistemic": ("noise_auroc_epistemic", ".3f"),
    "patches": ("patches_auroc", ".3f"),
    "patches, epistemic": ("patches_auroc_epistemic", ".3f"),
}
BARRIERS: Columns = {
    "between chains": ("barrier", ",.0f"),
    "above within": ("barrier_excess", ",.0f"),
    "permuted copies": ("permuted_barrier", ",.0f"),
}
MEAN: Columns = {
    "NLL": ("mean_network_nll", ".4f"),
    "NLL, own chain": ("own_mean_network_nll", ".4f"),
    "above own": ("own_mean_network_excess", ".4f"),
    "NLL, aligned": ("aligned_mean_network_nll", ".4f"),
}
LEVEL = 0.05
"""Chance of a false mark, one or more of a study, where no arm differs."""
GROUPS: dict[str, tuple[str, Columns]] = {
    "Function space": (FUNCTION_NOTE, FUNCTION),
    "Equal gradients": (BUDGET_NOTE, BUDGET),
    "Weight space": (WEIGHT_NOTE, WEIGHT),
    "Variance": (VARIANCE_NOTE, VARIANCE),
    "Modes": (MODES_NOTE, MODES),
    "Barriers": (BARRIERS_NOTE, BARRIERS),
    "Test": (TEST_NOTE, TEST),
    "Entropy": (ENTROPY_NOTE, ENTROPY),
    "Under shift": (SHIFT_NOTE, SHIFT),
    "Other data": (OTHER_NOTE, OTHER),
    "Network at the posterior mean": (MEAN_NOTE, MEAN),
}


def study_tables(run: StudyRun) -> list[Table]:
    """Compare the arms of a study."""
    repeats = REPEATS_NOTE.format(**run.summary)
    tables = [
        Table(title, f"{note.format(**run.summary)} {repeats}", *_by_arm(run, columns))
        for title, (note, columns) in GROUPS.items()
    ]
    tables += [
        *(_within_chains(run) if lags_of(run) else []),
        *_differences(run),
        *_predictions(run),
        _flat_directions(run),
        _priors(run),
    ]
    return [table for table in tables if table.rows]


def statistic(found: Mapping[str, float] | None, form: str) -> str:
    """Write a mean with half its interval; a dash where nothing was measured, no interval where all were equal."""
    if found is None or found["mean"] is None:
        return "-"
    is_certain = found["low"] is not None and math.isclose(found["low"], found["high"])
    return f"{found['mean']:{form}} (all)" if is_certain else interval(found, form)


def _shown(columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Leave out the columns in which nothing was measured."""
    return {header: cells for header, cells in columns.items() if set(cells) != {"-"}}


def _by_arm(run: StudyRun, columns: Columns) -> tuple[list[str], list[list[str]]]:
    shown = _shown(
        {
            header: [statistic(arm["metrics"].get(metric), form) for arm in run.kinds.values()]
            for header, (metric, form) in columns.items()
        }
    )
    if not shown:
        return ["kind"], []
    return ["kind", *shown], [list(row) for row in zip(run.kinds, *shown.values(), strict=True)]


def _within_chains(run: StudyRun) -> list[Table]:
    def rows(name: str, metric: str, form: str) -> list[list[str]]:
        lagged = {lag: [arm[name].get(lag) for arm in run.kinds.values()] for lag in lags_of(run)}
        between = {"between chains": [arm["metrics"][metric] for arm in run.kinds.values()]}
        return [[label, *(statistic(cell, form) for cell in cells)] for label, cells in (lagged | between).items()]

    columns = ["lag in draws", *run.kinds]
    in_place = rows("units_in_place", "in_place_between", ".2f")
    chance = number(next(iter(run.kinds.values()))["metrics"]["in_place_chance"]["mean"], ".3f")
    return [
        Table("Barriers within chains", WITHIN_NOTE, columns, rows("within_barriers", "barrier", ",.0f")),
        Table("Units in place", IN_PLACE_NOTE.format(chance=chance), columns, in_place),
    ]


def _differences(run: StudyRun) -> list[Table]:
    compared = {name: arm["metrics"] for name, arm in run.kinds.items() if arm["metrics"]["nll"]["difference"]}
    if not compared:
        return []
    rows = []
    for group, (_, columns) in GROUPS.items():
        for header, (metric, form) in columns.items():
            cells = [_difference(metrics.get(metric), form) for metrics in compared.values()]
            if set(cells) != {"-"}:
                rows.append([f"{group}: {header}", *cells])
    differences = [found["difference"] or {} for metrics in compared.values() for found in metrics.values()]
    num_tests = sum(difference.get("p_holm") is not None for difference in differences)
    note = DIFFERENCE_NOTE.format(num_tests=num_tests)
    return [Table("Differences to standard", note, ["metric", *compared], rows)]


def _difference(found: Mapping[str, Any] | None, form: str) -> str:
    difference = found and found["difference"]
    if not difference:
        return "-"
    corrected = difference.get("p_holm")
    if corrected is None:
        return statistic(difference, form)
    is_clear, is_clear_alone = corrected <= LEVEL, difference["p_value"] <= LEVEL
    return statistic(difference, form) + (" **" if is_clear else " *" if is_clear_alone else "")


def _predictions(run: StudyRun) -> list[Table]:
    measured = {name: arm for name, arm in run.kinds.items() if arm.get("predictions")}
    columns = ["kind", "agreement within", "agreement to standard", "TV within", "TV to standard", "excess, squared"]
    rows = [
        [
            name,
            *(
                number(arm["predictions"][measure][whose], ".4f")
                for measure in ("agreement", "total_variation")
                for whose in ("within", "baseline")
            ),
            statistic(arm["predictions"]["excess"], ".5f"),
        ]
        for name, arm in measured.items()
    ]
    tables = [Table("Predictions", PREDICTION_NOTE, columns, rows)]
    if held := {name: arm["reference"] for name, arm in measured.items() if arm["reference"]}:
        columns = ["kind", "agreement", "agreement, between", "TV", "TV, between"]
        rows = [
            [name, *_against(found["agreement"]), *_against(found["total_variation"])] for name, found in held.items()
        ]
        tables.append(Table("Against HMC", f"{REFERENCE_NOTE} {REPEATS_NOTE.format(**run.summary)}", columns, rows))
    return tables


def _against(found: Mapping[str, Any]) -> list[str]:
    return [statistic(found, ".4f"), number(found["between_references"], ".4f")]


def _flat_directions(run: StudyRun) -> Table:
    rows = [
        [
            name,
            layer.removesuffix("/bias"),
            statistic(found["variance_ratio"], ".3f"),
            statistic(found["ess_per_1000"], ".3f"),
            statistic(arm["metrics"]["weight_ess_median_per_1000"], ".3f"),
        ]
        for name, arm in run.kinds.items()
        for layer, found in arm["flat_directions"].items()
    ]
    columns = ["kind", "layer", "variance / prior's", "ESS per 1,000", "median of weights"]
    return Table("Flat directions", f"{FLAT_NOTE} {REPEATS_NOTE.format(**run.summary)}", columns, rows)


def _priors(run: StudyRun) -> Table:
    rows = [
        [
            name,
            f"{arm['num_trainable']:,}",
            f"{arm['num_fixed']:,}",
            *(f"{arm['prior'][part]:.4g}" for part in ("before", "after", "std_before", "std_after", "std_wanted")),
        ]
        for name, arm in run.kinds.items()
    ]
    columns = [
        "kind",
        "trainable",
        "fixed",
        "scale, before",
        "scale, after",
        "outputs, before",
        "outputs, after",
        "outputs, wanted",
    ]
    return Table("Priors", PRIOR_NOTE, columns, rows)
