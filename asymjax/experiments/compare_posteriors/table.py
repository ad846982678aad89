"""Tables of a study of posteriors: arm by arm, and differences to the standard network."""

import math
from collections.abc import Iterable, Mapping, Sequence
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
    "Of each run the draws that take no more than {budget:,.0f} gradients, warmup included, the fewest that any run of "
    "a sampler has in all; a dash where a repeat has too few draws by then. Draws of fits take none."
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
    "Each arm less the standard arm by the same sampler, repeat by repeat, mean plus or minus half the 95 % interval "
    "(Student's t). Marked out of the {num_tests} that are tested: ** where the p-value of the paired t-test is at "
    "most 5 % after the correction for their number (Holm 1979), * where it is before it. The others are described; "
    "MAP networks, which samplers share, are tested once."
)
PRIOR_NOTE = (
    "Scale of the output kernel's prior (--output-prior-scale), chosen so that outputs have the standard deviation of "
    "the standard network's under the prior: over 1,000 draws, at 100 training inputs (variances averaged; a Monte "
    "Carlo error of 1 to 2 %)."
)
PREDICTION_NOTE = (
    "Test inputs, means over pairs of different repeats: agreement, the share given the same class, and total "
    "variation (TV) of predictive distributions (of densities: of their probabilities in 200 cells of equal width, "
    "which is at most that of the densities), within the repeats of one arm and to those of standard. Excess: "
    "squared distance of predictive distributions to standard less the mean of both within, with a 95 % interval "
    "(jackknife over repeats); around zero where predictions are the same up to Monte Carlo error."
)
REFERENCE_NOTE = (
    "Predictions of each run against two HMC runs of the same network, and these against each other (between), which "
    "is what Monte Carlo error alone comes to; variances of functions and of weights over those of HMC, below 1 where "
    "a family is too narrow."
)
FITS_NOTE = (
    "ELBO: bound on the log evidence in nats, mean over the fits of a run, whose mixture all other tables judge; what "
    "of it is the information of the order of units; KL of the family to the prior; hidden units nearer to the prior "
    "than 0.1 nats. Bounds compare at one likelihood_weight. A dash where nothing is fitted, or draws have no density."
)
FAMILY_NOTE = (
    "Each fit less the meanfield fit of the same network, repeat by repeat, mean plus or minus half the 95 % interval "
    "(Student's t). ** where the p-value of the paired t-test is at most 5 % after the correction for the {num_tests} "
    "that are tested here (Holm 1979), * where it is before it. TV: to HMC."
)
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
FITS: Columns = {
    "ELBO": ("elbo", ",.2f"),
    "of which information": ("information", ",.2f"),
    "KL": ("kl", ",.2f"),
    "collapsed units": ("collapsed", ",.1f"),
}
BESIDE: Columns = {
    "ELBO": ("elbo", ",.2f"),
    "NLL": ("nll", ".4f"),
    "TV": ("reference_total_variation", ".4f"),
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
    "Fits": (FITS_NOTE, FITS),
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
        *(table for word, own in run.by_sampler().items() for table in _within_chains(own, _of_sampler(run, word))),
        *_differences(run),
        _predictions(run),
        _against_references(run, repeats),
        _families(run),
        _flat_directions(run, repeats),
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
    return ["kind", *shown], [list(row) for row in zip(map(run.label, run.kinds), *shown.values(), strict=True)]


def _of_sampler(run: StudyRun, sampler: str) -> str:
    """Return what a title adds where there is a table for each of several samplers."""
    return "" if len(run.samplers) == 1 else f", {sampler}"


def _within_chains(run: StudyRun, which: str) -> list[Table]:
    if not lags_of(run):
        return []

    def rows(name: str, metric: str, form: str) -> list[list[str]]:
        lagged = {lag: [arm[name].get(lag) for arm in run.kinds.values()] for lag in lags_of(run)}
        between = {"between chains": [arm["metrics"][metric] for arm in run.kinds.values()]}
        return [[label, *(statistic(cell, form) for cell in cells)] for label, cells in (lagged | between).items()]

    columns = ["lag in draws", *run.networks.values()]
    in_place = rows("units_in_place", "in_place_between", ".2f")
    chance = number(next(iter(run.kinds.values()))["metrics"]["in_place_chance"]["mean"], ".3f")
    return [
        Table(f"Barriers within chains{which}", WITHIN_NOTE, columns, rows("within_barriers", "barrier", ",.0f")),
        Table(f"Units in place{which}", IN_PLACE_NOTE.format(chance=chance), columns, in_place),
    ]


def _differences(run: StudyRun) -> list[Table]:
    """Compare arms with the standard arm, sampler by sampler."""
    compared = run.of([name for name, arm in run.kinds.items() if arm["metrics"]["nll"]["difference"]])
    found = [metric["difference"] or {} for arm in compared.kinds.values() for metric in arm["metrics"].values()]
    note = DIFFERENCE_NOTE.format(num_tests=_num_tests(found))
    tables = []
    for sampler, own in compared.by_sampler().items():
        metrics = [arm["metrics"] for arm in own.kinds.values()]
        rows = [
            [f"{group}: {header}", *(_difference((one.get(metric) or {}).get("difference"), form) for one in metrics)]
            for group, (_, columns) in GROUPS.items()
            for header, (metric, form) in columns.items()
        ]
        rows = [row for row in rows if set(row[1:]) - {"-"}]
        title = f"Differences to standard{_of_sampler(run, sampler)}"
        tables.append(Table(title, note, ["metric", *own.networks.values()], rows))
    return tables


def _num_tests(differences: Iterable[Mapping[str, Any]]) -> int:
    return sum(difference.get("p_holm") is not None for difference in differences)


def _difference(difference: Mapping[str, Any] | None, form: str) -> str:
    if not difference:
        return "-"
    corrected = difference.get("p_holm")
    if corrected is None:
        return statistic(difference, form)
    is_clear, is_clear_alone = corrected <= LEVEL, difference["p_value"] <= LEVEL
    return statistic(difference, form) + (" **" if is_clear else " *" if is_clear_alone else "")


def _predictions(run: StudyRun) -> Table:
    columns = ["kind", "agreement within", "agreement to standard", "TV within", "TV to standard", "excess, squared"]
    rows = [
        [
            run.label(name),
            *(
                number(arm["predictions"].get(measure, {}).get(whose), ".4f")
                for measure in ("agreement", "total_variation")
                for whose in ("within", "baseline")
            ),
            statistic(arm["predictions"]["excess"], ".5f"),
        ]
        for name, arm in run.kinds.items()
        if arm.get("predictions")
    ]
    return Table("Predictions", PREDICTION_NOTE, columns, rows)


def _against_references(run: StudyRun, repeats: str) -> Table:
    """Hold arms against HMC on the same network; older runs know no variances of it."""
    held = {name: arm for name, arm in run.kinds.items() if arm.get("reference")}
    columns = {
        "agreement": [_against(arm, "agreement") for arm in held.values()],
        "agreement, between": [_between(arm, "agreement") for arm in held.values()],
        "TV": [_against(arm, "total_variation") for arm in held.values()],
        "TV, between": [_between(arm, "total_variation") for arm in held.values()],
        "variance, functions": [_metric(arm, "function_variance_ratio") for arm in held.values()],
        "variance, weights": [_metric(arm, "weight_variance_reference_ratio") for arm in held.values()],
    }
    shown = _shown(columns) if held else {}
    rows = [list(row) for row in zip(map(run.label, held), *shown.values(), strict=True)]
    return Table("Against HMC", f"{REFERENCE_NOTE} {repeats}", ["kind", *shown], rows)


def _metric(arm: Mapping[str, Any], metric: str) -> str:
    return statistic(arm["metrics"].get(metric), ".3f")


def _against(arm: Mapping[str, Any], measure: str) -> str:
    return statistic(arm["reference"].get(measure), ".4f")


def _between(arm: Mapping[str, Any], measure: str) -> str:
    return number(arm["reference"].get(measure, {}).get("between_references"), ".4f")


def _families(run: StudyRun) -> Table:
    """Compare fits with that of the plain family on the same network."""
    found = {name: arm["plain_family"]["differences"] for name, arm in run.kinds.items() if arm.get("plain_family")}
    num_tests = _num_tests(difference for differences in found.values() for difference in differences.values())
    rows = [
        [run.label(name), *(_difference(differences[metric], form) for metric, form in BESIDE.values())]
        for name, differences in found.items()
    ]
    return Table("Families beside meanfield", FAMILY_NOTE.format(num_tests=num_tests), ["kind", *BESIDE], rows)


def _flat_directions(run: StudyRun, repeats: str) -> Table:
    rows = [
        [
            run.label(name),
            layer.removesuffix("/bias"),
            statistic(found["variance_ratio"], ".3f"),
            statistic(found["ess_per_1000"], ".3f"),
            statistic(arm["metrics"]["weight_ess_median_per_1000"], ".3f"),
        ]
        for name, arm in run.kinds.items()
        for layer, found in arm["flat_directions"].items()
    ]
    columns = ["kind", "layer", "variance / prior's", "ESS per 1,000", "median of weights"]
    return Table("Flat directions", f"{FLAT_NOTE} {repeats}", columns, rows)


def _priors(run: StudyRun) -> Table:
    rows = [
        [
            run.label(name),
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
