"""A finished posterior, read from its run directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asymjax.experiments.posterior.traces import Trace, read_traces
from asymjax.lab import run_files
from asymjax.report.read import read_record, read_required, read_results

SPACES = {"function_space": "function space", "weight_space": "weight space"}


PREDICTORS = {"posterior": "posterior", "ensemble": "MAP ensemble", "map": "MAP, first network"}


SUMMARY = (
    *("arch", "backbone", "dataset", "task", "num_trainable", "num_fixed", "fixed_to_free_ratio", "num_rows"),
    *("function_space", "weight_space", "sampler", "test", "seconds", "verdict"),
)


DIAGNOSTICS = ("rhat", "ess_bulk", "ess_tail")


PREDICTIONS = {
    "classification": ("probability", "entropy_total"),
    "regression": ("mean", "aleatoric_scale", "epistemic_scale"),
}


class Run(NamedTuple):
    """A finished run.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    diagnostics : convergence statistics [coordinate], ``"<space>/<statistic>"``.
    predictions : mixtures on test inputs, then on noise [input, ...], ``"<predictor>/<quantity>"``; test targets.
    traces : the log density, and the coordinates of each space with the worst and the median R-hat.
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    diagnostics: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    traces: list[Trace]

    @property
    def title(self) -> str:
        """What was sampled."""
        return "{arch} {backbone} on {dataset}".format(**self.summary)

    @property
    def size(self) -> str:
        """How large it is, and how long it was sampled."""
        num_chains, num_draws = self.traces[0].values.shape
        return f"{self.summary['num_trainable']:,} parameters, {num_chains} chains x {num_draws:,} draws"

    @property
    def num_test(self) -> int:
        """Rows of ``predictions`` that are test inputs; noise follows."""
        return len(self.predictions["targets"])

    @property
    def spaces(self) -> dict[str, str]:
        """Keys and names of the spaces in which convergence was measured; no weight space where no weights are kept."""
        return {key: name for key, name in SPACES.items() if self.summary[key] is not None}

    @property
    def predictors(self) -> dict[str, str]:
        """Keys and names of the predictors; no MAP where chains started from the prior."""
        return {key: name for key, name in PREDICTORS.items() if self.summary["test"][key] is not None}


def read_run(path: Path) -> Run:
    """Read a finished run directory.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing, damaged or another's.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    task = summary["task"]
    names = [f"{space}/{name}" for space in SPACES if summary[space] is not None for name in DIAGNOSTICS]
    diagnostics = read_results(path, "diagnostics/", *names)
    known = [predictor for predictor in PREDICTORS if summary["test"][predictor] is not None]
    names = [f"{predictor}/{name}" for predictor in known for name in PREDICTIONS[task]]
    predictions = read_results(path, "predictions/", "targets", *names)
    num_outputs = predictions[names[0]].shape[-1]
    traces = read_traces(path, diagnostics, _function_quantities(task, record["config"]), num_outputs)
    return Run(path, record, summary, diagnostics, predictions, traces)


def _function_quantities(task: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the quantities that make up function space, in the order of its coordinates."""
    if task == "classification":
        return ("probability of class {}", "log probability of class {}")
    if config["posterior"]["noise"] == "heteroscedastic":
        return ("mean of target {}", "log noise scale of target {}")
    return ("mean of target {}",)
