"""The table of a sweep: how good the networks of every combination of settings are."""

from collections.abc import Sequence

import numpy as np

from asymjax.experiments.train_sweep.figures import SPLITS, Combination, SweepRun, chosen
from asymjax.report.table import Table

MAX_ROWS = 100
NOTES = {
    "loss": {
        "classification": "Cross-entropy in nats, of labels that are not smoothed.",
        "regression": "Mean squared error in standardised units.",
    },
    "accuracy": {"classification": "Share of the rows whose class is right."},
}
NOTE = (
    "A kind: networks that differ in their seeds, masks and drawn recipes alone. Failed: the loss left the finite "
    "numbers. Metrics: means ± standard deviations over those that trained."
)


def sweep_tables(run: SweepRun) -> list[Table]:
    """Compare the combinations of settings of a sweep, the best where they are very many."""
    rows, total = chosen(run, MAX_ROWS)
    note = NOTE
    if len(rows) < total:
        note += f" The best {len(rows)} of {total:,}, by the mean {run.selection} {run.score}; all are in summary.json."
    measured = {metric: [split for split in SPLITS if metric in run.summary[split]] for metric in NOTES}
    return [
        Table("Networks", note, ["kind", "trainable", "fixed", "networks", "failed"], list(map(_networks, rows))),
        *(
            _metric_table(rows, metric, splits, NOTES[metric][run.summary["task"]])
            for metric, splits in measured.items()
            if splits
        ),
    ]


def _networks(row: Combination) -> list[str]:
    num_failed = row.num_networks - len(row.trained)
    counts = (row.program["num_trainable"], row.program["num_fixed"], row.num_networks, num_failed)
    return [row.name, *(f"{count:,}" for count in counts)]


def _metric_table(rows: Sequence[Combination], metric: str, splits: Sequence[str], note: str) -> Table:
    cells = [[row.name, *(_spread(row.values(split, metric)) for split in splits)] for row in rows]
    return Table(metric.capitalize(), note, ["kind", *(SPLITS[split] for split in splits)], cells)


def _spread(values: np.ndarray) -> str:
    """Write mean and standard deviation; a dash of no network, the value of one."""
    if len(values) == 0:
        return "-"
    mean = f"{np.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.4f}"
