"""What a study of sparse networks will do, settled and refused before any work."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from asymjax import trees
from asymjax.errors import InputError, choose
from asymjax.experiments.distillation.run import refuse_what_has_no_classes
from asymjax.experiments.sparse_connectivity.config import Config
from asymjax.experiments.sparse_connectivity.sources import SOURCES
from asymjax.sparse.distillation import count_cost
from asymjax.sparse.masks import prunable
from asymjax.sparse.pruning import check_left, counts_left, rounds_to
from asymjax.train.members import steps_per_epoch
from asymjax.types import Dataset, Model

SMALL = ("distilled", "subset")
FROM_ANOTHER = frozenset({"naive", "permuted"})


class Plan(NamedTuple):
    """What all studies of a run have in common.

    Attributes
    ----------
    levels : rounds at which twins are trained, ascending.
    share : of the weights left that a round prunes.
    num_steps_per_epoch, num_epochs : of training on all rows.
    """

    levels: tuple[int, ...]
    share: float
    num_steps_per_epoch: int
    num_epochs: int

    def counts_of(self, model: Model) -> list[int]:
        """Return how many weights of a model are left after each round.

        Raises
        ------
        InputError
            If fewer are left than there are layers.
        """
        shapes = trees.flatten(_shapes(model))
        pruned = [leaf for path, leaf in shapes.items() if path in prunable(model)]
        counts = counts_left(trees.num_entries(pruned), self.share, max(self.levels))
        check_left(counts, len(pruned))
        return counts

    def num_passes_after(self, step: int) -> int:
        """Return the passes over the rows that are left after a step; one that is under way is made anew."""
        return self.num_epochs - step // self.num_steps_per_epoch


def _shapes(model: Model) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), jax.eval_shape(model.freeze, jax.random.key(0)))


def make_plan(config: Config, dataset: Dataset) -> Plan:
    """Settle what all studies have in common.

    Raises
    ------
    InputError
        If a source is unknown or there twice, the sparsities are no rounds of their own, tickets would begin after
        training ends, masks are to come from another network where there is none, or data without classes are to be
        distilled.
    """
    sparse, optimizer = config.sparse, config.optimizer
    for source in sparse.sources:
        choose(SOURCES, source, "source of masks")
    _require_distinct("sources", sparse.sources)
    _require_distinct("rewind_steps", sparse.rewind_steps)
    levels = tuple(sorted(rounds_to(sparsity, sparse.pruned_share) for sparsity in sparse.sparsities))
    if len(set(levels)) < len(levels) or min(levels, default=0) < 1:
        raise InputError(
            f"sparsities {sparse.sparsities} come nearest to rounds {levels} of pruned_share {sparse.pruned_share}; "
            "give such as have rounds of their own, from 1 on"
        )
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
    if set(SMALL) & set(sparse.sources):
        refuse_what_has_no_classes(dataset, config.data.dataset)
    return Plan(levels, sparse.pruned_share, num_steps, optimizer.num_epochs)


def search_costs(config: Config, plan: Plan, dataset: Dataset, step: int) -> dict[str, dict[str, int]]:
    """Return what the search for the sparsest masks costs, by iterative source.

    Returns
    -------
    Source -> ``stored``: points that are kept; ``decoded``: rows that they are in training; ``visited``: rows that
    networks pass, as often as each does; ``gradient_steps``. Of distilled data the distillation is counted too: the
    real rows that it visits, and its steps. All rounds, and all of one network.
    """
    num_rounds, num_real = max(plan.levels), len(dataset.train.targets)
    made = count_cost(config.distillation, dataset.num_outputs)
    sizes = {"imp": (num_real, num_real), **dict.fromkeys(("distilled", "subset"), (made.stored, made.decoded))}
    costs = {}
    for source in [name for name in sizes if name in config.sparse.sources]:
        stored, decoded = sizes[source]
        batch_size = min(config.optimizer.batch_size or decoded, decoded)
        passes = plan.num_passes_after(step) if source == "imp" else config.sparse.search_epochs
        steps = num_rounds * passes * (decoded // batch_size)
        extra = (made.visited, made.gradient_steps) if source == "distilled" else (0, 0)
        costs[source] = {
            "stored": stored if source != "subset" else decoded,
            "decoded": decoded,
            "visited": steps * batch_size + extra[0],
            "gradient_steps": steps + extra[1],
        }
    return costs


def _require_distinct(name: str, values: Sequence[Any]) -> None:
    if not values or len(set(values)) < len(values):
        raise InputError(f"{name} is {values}; give one value at least, and each once")
