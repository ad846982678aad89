"""The tables of a zoo: how its networks' scores are spread, and what their recipes say of them."""

import numpy as np
from scipy.stats import spearmanr

from asymjax.experiments.train_sweep.figures import SPLITS, SweepRun, varying
from asymjax.experiments.zoo.kinds import kind_of
from asymjax.report.table import Table, number

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
OF_NETWORKS = (
    "Failed: the loss left the finite numbers. At chance: test accuracy at most two standard deviations above that of "
    "guessing, of the networks that trained."
)
OF_SPREAD = (
    "Over the networks that trained. The scale of an R2 is the variance, which differs from zoo to zoo: scores of "
    "metanetworks on two zoos are comparable where these lines are alike."
)
OF_RECIPES = (
    "What was drawn for each network, and its rank correlation (Spearman) with the test {score}: what is known of it "
    "without a look at the network."
)


def zoo_tables(run: SweepRun) -> list[Table]:
    """Describe the networks of a zoo, their scores and their recipes."""
    tables = [_networks(run), _spread(run)]
    return [*tables, _recipes(run)] if varying(run) else tables


def num_at_chance(accuracy: np.ndarray, num_classes: int, num_rows: int) -> int:
    """Return how many networks are at most two standard deviations better than guessing among equal classes.

    Guessing is right for a binomial number of rows, with probability 1 / classes.

    Parameters
    ----------
    accuracy : [network] on so many rows.
    """
    chance = 1 / num_classes
    return int(np.sum(accuracy <= chance + 2 * np.sqrt(chance * (1 - chance) / num_rows)))


def _networks(run: SweepRun) -> Table:
    program = run.summary
    trained = program["trained"]
    counts = (program["num_trainable"], program["num_fixed"], len(trained), np.sum(~trained))
    columns, row = ["trainable", "fixed", "networks", "failed"], [f"{count:,}" for count in counts]
    if run.score == "accuracy":
        accuracy, classes = program["test"]["accuracy"][trained], program["data"]["num_outputs"]
        count = num_at_chance(accuracy, classes, program["num_rows"]["test"])
        columns, row = [*columns, "at chance"], [*row, f"{count:,}"]
    return Table("Networks", OF_NETWORKS, ["kind", *columns], [[kind_of(run.record["config"]), *row]])


def _spread(run: SweepRun) -> Table:
    columns = ["kind", "mean", "sd", *(f"{share:.0%}" for share in QUANTILES)]
    rows = []
    for split, name in SPLITS.items():
        values = run.summary[split].get(run.score, np.array([]))
        if len(values) and len(values := values[run.summary["trained"]]) > 1:
            numbers = [values.mean(), values.std(ddof=1), *np.quantile(values, QUANTILES)]
            rows.append([name, *(f"{value:.4f}" for value in numbers)])
    return Table(run.score.capitalize(), OF_SPREAD, columns, rows)


def _recipes(run: SweepRun) -> Table:
    trained = run.summary["trained"]
    scores = run.summary["test"][run.score][trained]
    rows = []
    for name in varying(run):
        values = run.summary["coordinates"][name][trained]
        ends = (f"{value:.3g}" for value in np.quantile(values, (0, 0.5, 1))) if len(values) else "---"
        related = spearmanr(values, scores).statistic if len(values) > 2 else np.nan
        rows.append([name, *ends, number(related, "+.3f")])
    note = OF_RECIPES.format(score=run.score)
    return Table("Recipes", note, ["kind", "least", "median", "most", "correlation"], rows)
