"""Tables and sentences of sparse networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from asymjax.experiments.linear_connectivity.table import interval
from asymjax.experiments.sparse_connectivity.figures import RISES, SparseRun, sources_of, study_name
from asymjax.report.read import as_numbers
from asymjax.report.table import Table, number

NOTE = (
    "Means over initialisations of the means over their pairs of twins, plus or minus half the 95 % interval. Rise: of "
    "the path, at most, over the mean of both ends (Frankle et al. 2020). Stable: a rise of the test error below 0.02. "
    "Matching: an error at most 0.002 above that of dense twins. All initialisations share one distilled set and one "
    "random subset, so that intervals do not hold for other sets."
)
MASK_NOTE = (
    "Overlap: with the mask of imp, what both keep as a share of what either keeps, the mean over initialisations. "
    "Least densities: of each layer, by name, the least share of weights that is left of any initialisation."
)
RISE_NOTE = (
    "The largest rise of a path by three definitions: over the mean of both ends, over the straight line between them, "
    "and over the worse end; recalibrated: of the loss at each point's best softmax temperature. Distance: Euclidean, "
    "of effective weights."
)
CURVATURE_NOTE = (
    "Trace of the Hessian (Hutchinson) and its largest eigenvalue (Lanczos) among the weights that are kept, on the "
    "first path of each ticket; means over initialisations. All networks meet the same rows and probes. Error: the "
    "standard error of a network's trace; residual: so near to the largest that was found some eigenvalue is."
)
STABILITY_NOTE = (
    "Largest eigenvalue of the Hessian of the dense networks at the step that tickets begin at, and the learning rate "
    "times it over 2 + 2 x 0.9, the momentum: above 1 gradient descent with momentum leaves a quadratic."
)
COST_NOTE = (
    "All rounds of one network with the steps before them, and of distilled data the distillation. Passed: rows that "
    "went through a network, as often as each did. Gradients: of networks, those that distillation matches too."
)
BETWEEN_NOTE = (
    "Paths between dense networks of different initialisations, as they are, and after permuting units to match."
)
SUCCESSIVE_NOTE = "Paths from a first twin to that of the same initialisation and source at the next sparsity measured."


def twin_tables(run: SparseRun) -> list[Table]:
    """Return what twins of every source and sparsity achieve, and how far the paths between them rise."""
    return [_twins(run, study) for study in run.studies]


def sparse_tables(run: SparseRun) -> list[Table]:
    """Return the tables of a run."""
    tables = [*twin_tables(run), _masks(run)]
    tables += [_rises(run, study) for study in run.studies]
    tables += [_between(run)] if any(study["between"] for study in run.studies) else []
    if any(study.get("stability") for study in run.studies):
        tables += [_curvatures(run), _stability(run)]
    tables += [_costs(run)] if any(study["costs"] for study in run.studies) else []
    return tables + ([_successive(run)] if any(study["successive"] for study in run.studies) else [])


def _value(cell: Mapping[str, Any], name: str, form: str = ".4f") -> str:
    return interval(cell["measures"].get(name), form)


def _curvatures(run: SparseRun) -> Table:
    rows = [
        [
            *(study_name(study), cell["source"], f"{cell['sparsity']:.1%}"),
            *(interval(cell["curvature"]["trace"][at], ".3g") for at in (0, 2)),
            *(interval(cell["curvature"]["largest"][at], ".3g") for at in (0, 2)),
            *(number(cell["curvature"][name][0]["mean"], ".2g") for name in ("trace_error", "largest_residual")),
        ]
        for study in run.studies
        for cell in study["cells"]
        if cell.get("curvature")
    ]
    columns = ["kind", "source", "pruned", "trace at an end", "trace halfway", "largest at an end", "largest halfway"]
    columns += ["error of a trace", "residual"]
    return Table("Curvature of the training loss", CURVATURE_NOTE, columns, rows)


def _stability(run: SparseRun) -> Table:
    rows = [
        [
            study_name(study),
            *(
                number(np.mean(as_numbers(study["stability"][name] or [np.nan])), ".3g")
                for name in ("largest", "ratio")
            ),
        ]
        for study in run.studies
    ]
    return Table("Where tickets begin", STABILITY_NOTE, ["kind", "largest eigenvalue", "stability ratio"], rows)


def _costs(run: SparseRun) -> Table:
    rows = [
        [
            study_name(study),
            source,
            *(f"{cost[name]:,}" for name in ("stored", "decoded", "visited", "visited_distilled", "gradient_steps")),
        ]
        for study in run.studies
        for source, cost in study["costs"].items()
    ]
    columns = ["kind", "source", "points stored", "rows decoded", "real rows passed", "distilled passed", "gradients"]
    return Table("What a search for masks costs", COST_NOTE, columns, rows)


def _truth(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _twins(run: SparseRun, study: dict[str, Any]) -> Table:
    measures = dict.fromkeys(
        (f"test.{run.outcome}", "test.loss", f"test.{run.outcome}.over_mean", "test.loss.over_mean")
    )
    rows = [
        [
            *(cell["source"], f"{cell['sparsity']:.1%}"),
            *(_value(cell, name, ".3f") for name in measures),
            *(_truth(cell["is_stable"]), _truth(cell["is_matching"])),
        ]
        for cell in study["cells"]
    ]
    named = dict.fromkeys((run.outcome, "loss", f"rise of {run.outcome}", "rise of loss"))
    columns = ["source", "pruned", *named, "stable", "matching"]
    return Table(f"Twins of {study_name(study)}", NOTE, columns, rows)


def _masks(run: SparseRun) -> Table:
    rows = [
        [
            *(study_name(study), cell["source"], f"{cell['sparsity']:.1%}", number(cell["overlap"], ".2f")),
            " ".join(f"{share:.1%}" for share in cell["density"].values()),
        ]
        for study in run.studies
        for cell in study["cells"][1:]
    ]
    return Table("Masks", MASK_NOTE, ["kind", "source", "pruned", "overlap", "least densities"], rows)


def _rises(run: SparseRun, study: dict[str, Any]) -> Table:
    measured = [("test", run.outcome), ("train", run.outcome), ("test", "loss"), ("test", "recalibrated_loss")]
    measured = [one for one in dict.fromkeys(measured) if ".".join(one) in study["cells"][0]["measures"]]
    rows = [
        [cell["source"], f"{cell['sparsity']:.1%}", f"{split} {metric}".replace("_", " ")]
        + [_value(cell, f"{split}.{metric}.{rise}") for rise in RISES]
        + [_value(cell, "distance", ".2f")]
        for cell in study["cells"]
        for split, metric in measured
    ]
    return Table(
        f"Rises by definition, {study_name(study)}",
        RISE_NOTE,
        ["source", "pruned", "of", *RISES.values(), "distance"],
        rows,
    )


def _between(run: SparseRun) -> Table:
    rows = [
        [
            study_name(study),
            {"seeds": "as they are", "aligned": "aligned"}[kind],
            *(interval(measures.get(name)) for name in (f"test.{run.outcome}.over_mean", "test.loss.over_mean")),
        ]
        for study in run.studies
        for kind, measures in study["between"].items()
    ]
    columns = ["kind", "paths", f"rise of {run.outcome}", "rise of loss"]
    return Table("Between initialisations", BETWEEN_NOTE, columns, rows)


def _successive(run: SparseRun) -> Table:
    rows = [
        [study_name(study), one["source"], f"{one['from']} to {one['to']}"]
        + [_value(one, name) for name in (f"test.{run.outcome}.over_mean", "test.loss.over_mean")]
        for study in run.studies
        for one in study["successive"]
    ]
    columns = ["kind", "source", "rounds", f"rise of {run.outcome}", "rise of loss"]
    return Table("From one sparsity to the next", SUCCESSIVE_NOTE, columns, rows)


def sparse_words(run: SparseRun) -> list[str]:
    """Say for each study which sources make twins more or less stable than dense ones, and name what failed."""
    return [sentence for study in run.studies for sentence in _words(run, study)]


def _words(run: SparseRun, study: dict[str, Any]) -> Sequence[str]:
    rise = f"test.{run.outcome}.over_mean"
    name, dense = study_name(study), study["cells"][0]["measures"]
    error = interval(dense.get(f"test.{run.outcome}"))
    sentences = [f"{name}: dense twins, {run.outcome} {error}, rise {interval(dense.get(rise))}."]
    for source, (_, *cells) in sources_of(study).items():
        told = [
            f"{interval(cell['measures'].get(rise))} at {cell['sparsity']:.1%}{_compared(cell, rise)}" for cell in cells
        ]
        sentences.append(f"  {source}: rise {'; '.join(told)}.")
    for cell in study["cells"]:
        for seed, paths in cell["collapsed"].items():
            sentences.append(
                f"warning: {name}, {cell['source']}, {cell['sparsity']:.1%}: the mask of seed {seed} keeps nothing of "
                f"{', '.join(paths)}; no signal passes there"
            )
    return [*sentences, *(f"warning: {name}: {who} is left out, {why}" for who, why in study["failed"].items())]


def _compared(cell: Mapping[str, Any], rise: str) -> str:
    """Say whether a rise differs from that of dense twins, and of twins of imp masks, of the same initialisations."""
    beside = {"dense": (cell["measures"].get(rise) or {}).get("difference"), "imp": cell["beside_imp"].get(rise)}
    words = [f"{verdict} than {name}" for name, found in beside.items() if (verdict := _verdict(found))]
    return f" ({', '.join(words)})" if words else ""


def _verdict(difference: Mapping[str, Any] | None) -> str:
    if not difference or difference["low"] is None:
        return ""
    return "less" if difference["high"] < 0 else "more" if difference["low"] > 0 else ""
