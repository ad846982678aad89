"""A run of ``sparse_lmc``: a study of every method and of every step that tickets begin at."""

from pathlib import Path
from typing import Any

import numpy as np

from asymjax import rng, trees
from asymjax.experiments.distillation.distil import distil_data
from asymjax.experiments.distillation.run import random_subsets
from asymjax.experiments.linear_connectivity.run import Task
from asymjax.experiments.setup import describe_data, load_data
from asymjax.experiments.sparse_connectivity.config import Config
from asymjax.experiments.sparse_connectivity.members import DENSE, KINDS
from asymjax.experiments.sparse_connectivity.plan import SMALL, make_plan, search_costs
from asymjax.experiments.sparse_connectivity.study import Studied, Subject, study_networks
from asymjax.experiments.sparse_connectivity.summary import summarise_study
from asymjax.lab.rundir import RunDir, open_run
from asymjax.models import draw_frozen
from asymjax.sparse.masks import prunable
from asymjax.symmetry.connectivity import grid, in_batches, make_measure
from asymjax.types import Dataset, Frozen, Model, Split

EXPERIMENT = "sparse_lmc"


def run_sparse(config: Config) -> Path:
    """Find masks, train twins from every ticket, and measure the paths between them; resumes a run not finished.

    Returns
    -------
    The run directory, with summary.json and the curves of all paths in results.zarr.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If every network of a study diverges.
    StopRequestedError
        If SIGTERM came.
    """
    dataset = load_data(config.data)
    models = {arch: config.models.of(arch) for arch in config.models.archs}
    built = {arch: model.build(dataset.input_shape, dataset.num_outputs) for arch, model in models.items()}
    plan, sparse = make_plan(config, dataset, built), config.sparse
    settings = {
        "data": config.data.identity(dataset),
        "models": {arch: model.record() for arch, model in models.items()},
        **{name: getattr(config, name) for name in ("optimizer", "sparse", "seeds", "num_seeds")},
        "distillation": config.distillation if set(SMALL) & set(sparse.sources) else None,
    }
    backbone = next(iter(models.values())).backbone_name
    run = open_run(EXPERIMENT, f"{backbone}-{config.data.slug}", settings, config.run)
    splits = {"train": in_batches(dataset.train, sparse.num_train_rows), "test": in_batches(dataset.test)}
    points = grid(sparse.num_points)
    studies, arrays = [], {"paths/points": (("point",), points)}
    for arch, model in built.items():
        frozen = draw_frozen(model, models[arch].mask_seed)
        run.identify(**{f"frozen_{arch}": trees.checksum(frozen)})
        small = _small_rows(run, arch, model, frozen, dataset, config)
        task = Task(make_measure(model, dataset.task), points, splits)
        for step in sparse.rewind_steps:
            subject = Subject(f"{arch}-{step}", arch, step, model, frozen, dataset, small)
            studied = study_networks(run, subject, config, plan, task)
            found = summarise_study(studied, points, prunable(model), plan.levels)
            costs = search_costs(config, plan, dataset, step)
            studies.append({"arch": arch, "step": step, "counts": plan.pruning[arch].counts, "costs": costs} | found)
            arrays |= _arrays(subject.name, studied)
    summary = describe_data(dataset, config.data.dataset) | {"backbone": backbone, "levels": plan.levels}
    run.finish(lambda: (summary | {"studies": studies, "seconds": run.seconds}, arrays))
    return run.path


def _arrays(name: str, studied: Studied) -> dict[str, Any]:
    """Return the curves of all paths of a study, with what lies at their ends; a source is its place, after dense."""
    kinds = np.concatenate([np.full(len(pairs), KINDS.index(kind)) for kind, pairs in studied.pairs.items()])
    sources = [DENSE, *studied.masks]
    arrays: dict[str, Any] = {
        "kind": (("path",), kinds),
        "ends": (("path", "end"), np.concatenate(list(studied.pairs.values()))),
        "distance": (("path",), studied.distance),
    }
    members = studied.members._asdict() | {"source": np.array([sources.index(one) for one in studied.members.source])}
    arrays |= {column: (("network",), values) for column, values in members.items()}
    for split, metrics in studied.curves.items():
        arrays |= {f"{split}.{metric}": (("path", "point"), curves) for metric, curves in metrics.items()}
    return {f"paths/{name}/{array}": values for array, values in arrays.items()}


def _small_rows(
    run: RunDir, arch: str, model: Model, frozen: Frozen, dataset: Dataset, config: Config
) -> dict[str, Split]:
    """Return the small sets that masks are sought on: distilled data, and as many random rows of each class."""
    rows, distillation, seed = {}, config.distillation, config.seeds.seed
    if "distilled" in config.sparse.sources:
        key = rng.role_key(seed, "distil")
        rows["distilled"] = distil_data(run, f"distil-{arch}", key, model, frozen, dataset, distillation, config.run)
    if "subset" in config.sparse.sources:
        (chosen,) = random_subsets(np.asarray(dataset.train.targets), distillation.rows_per_class, 1, seed)
        rows["subset"] = dataset.train.take(chosen)
    return rows
