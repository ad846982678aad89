"""What a study of sparse networks will do, settled and refused before any work."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from asymjax.errors import InputError, choose
from asymjax.experiments.distillation.run import random_subsets, refuse_what_has_no_classes
from asymjax.experiments.sparse_connectivity.config import Config
from asymjax.experiments.sparse_connectivity.sources import SOURCES
from asymjax.sparse.distillation import by_class, check_start, count_cost, make_distiller
from asymjax.sparse.pruning import PruningPlan, plan_pruning, rounds_to
from asymjax.symmetry.connectivity import grid
from asymjax.train.members import make_trainer, steps_per_epoch
from asymjax.train.optimizers import OptimizerConfig
from asymjax.types import Dataset, Model

SMALL = ("distilled", "subset")
FROM_ANOTHER = frozenset({"naive", "permuted"})


class Plan(NamedTuple):
    """What the studies of a run will do.

    Attributes
    ----------
    levels : rounds at which twins are trained, ascending.
    pruning : method -> what each round prunes.
    num_steps_per_epoch, num_epochs : of training on all rows.
    """

    levels: tuple[int, ...]
    pruning: Mapping[str, PruningPlan]
    num_steps_per_epoch: int
    num_epochs: int

    def num_passes_after(self, step: int) -> int:
        """Return the passes over the rows that are left after a step; one that is under way is made anew."""
        return self.num_epochs - step // self.num_steps_per_epoch


def make_plan(config: Config, dataset: Dataset, models: Mapping[str, Model]) -> Plan:
    """Settle what the studies of some methods will do.

    Raises
    ------
    InputError
        If a source is unknown or there twice, the sparsities are no rounds of their own or leave no weights, tickets
        would begin after training ends, masks are to come from another network where there is none, data cannot be
        distilled, or a number of the optimizer cannot be.
    """
    sparse, optimizer = config.sparse, config.optimizer
    for source in sparse.sources:
        choose(SOURCES, source, "source of masks")
    _require_distinct("sources", sparse.sources)
    _require_distinct("rewind_steps", sparse.rewind_steps)
    grid(sparse.num_points)
    levels = tuple(sorted(rounds_to(sparsity, sparse.pruned_share) for sparsity in sparse.sparsities))
    if len(set(levels)) < len(levels) or min(levels, default=0) < 1:
        raise InputError(
            f"sparsities {sparse.sparsities} come nearest to rounds {levels} of pruned_share {sparse.pruned_share}; "
            "give such as have rounds of their own, from 1 on"
        )
    pruning = {
        arch: plan_pruning(model, sparse.pruned_share, max(levels), sparse.scope) for arch, model in models.items()
    }
    if optimizer.recipe != "shared":
        raise InputError("recipe is drawn, but the networks of a study are trained alike; give shared")
    num_steps = steps_per_epoch(optimizer, len(dataset.train.targets))
    if late := [step for step in sparse.rewind_steps if step >= optimizer.num_epochs * num_steps]:
        raise InputError(
            f"rewind_steps has {late[0]}, but training takes {optimizer.num_epochs * num_steps} steps "
            f"({optimizer.num_epochs} epochs of {num_steps}); give fewer"
        )
    if FROM_ANOTHER & set(sparse.sources) and config.num_seeds < 2:
        raise InputError("masks of another seed need two seeds at least; give --num-seeds 2 or more")
    for model in models.values():
        make_trainer(model, dataset, optimizer)  # It refuses what cannot be.
        if set(SMALL) & set(sparse.sources):
            _check_small(config, dataset, model)
    return Plan(levels, pruning, num_steps, optimizer.num_epochs)


def _check_small(config: Config, dataset: Dataset, model: Model) -> None:
    """Refuse data that cannot be distilled, and training on so few rows that cannot be."""
    refuse_what_has_no_classes(dataset, config.data.dataset)
    num_rows = dataset.num_outputs * config.distillation.rows_per_class
    random_subsets(np.asarray(dataset.train.targets), config.distillation.rows_per_class, 1, 0)
    few = dataset._replace(train=dataset.train.take(slice(num_rows)))
    make_trainer(model, few, on_few(config, num_rows))
    if "distilled" in config.sparse.sources:
        make_distiller(model, config.distillation, dataset.input_shape, dataset.num_outputs)
        check_start(config.distillation, by_class(dataset.train, dataset.num_outputs))


def on_few(config: Config, num_rows: int) -> OptimizerConfig:
    """Return how networks are trained on few rows: as on all, but for the number of passes and too large a batch."""
    batch_size = config.optimizer.batch_size and min(config.optimizer.batch_size, num_rows)
    return replace(config.optimizer, num_epochs=config.sparse.search_epochs, batch_size=batch_size)


def search_costs(config: Config, plan: Plan, dataset: Dataset, step: int) -> dict[str, dict[str, int]]:
    """Return what the search for the sparsest masks costs, by iterative source.

    Returns
    -------
    Source -> ``stored``: points that are kept; ``decoded``: rows that they are in training; ``visited``: real rows that
    pass a network, as often as each does, and ``visited_distilled``: distilled ones; ``gradient_steps``: gradients of
    networks, and of the distillation those that are matched too. All rounds of one network, with the k steps before
    them, and of distilled data the whole distillation.
    """
    num_rounds, num_real, optimizer = max(plan.levels), len(dataset.train.targets), config.optimizer
    made = count_cost(config.distillation, dataset.num_outputs)
    sizes = {"imp": num_real, **dict.fromkeys(SMALL, made.decoded)}
    costs = {}
    for source in [name for name in sizes if name in config.sparse.sources]:
        batch_size = min(optimizer.batch_size or sizes[source], sizes[source])
        passes = plan.num_passes_after(step) if source == "imp" else config.sparse.search_epochs
        steps = num_rounds * passes * (sizes[source] // batch_size)
        real, of_distilled = step * (optimizer.batch_size or num_real), 0
        if source == "distilled":
            real, of_distilled = real + made.visited, made.visited_distilled + steps * batch_size
        else:
            real += steps * batch_size
        costs[source] = {
            "stored": made.stored if source == "distilled" else sizes[source],
            "decoded": sizes[source],
            "visited": real,
            "visited_distilled": of_distilled,
            "gradient_steps": step + steps + made.gradient_steps * (source == "distilled"),
        }
    return costs


def _require_distinct(name: str, values: Sequence[Any]) -> None:
    if not values or len(set(values)) < len(values):
        raise InputError(f"{name} is {values}; give one value at least, and each once")
