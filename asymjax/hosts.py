"""Several processes, one job (temporary)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from asymjax.types import PyTree

T = TypeVar("T")


def connect(coordinator=None, num_processes=None, process_id=None, detect=False) -> None:
    if coordinator is not None:
        jax.distributed.initialize(coordinator, num_processes, process_id, initialization_timeout=60)


def is_leader() -> bool:
    return jax.process_index() == 0


def _share(value: Any) -> list:
    import json

    from jax.experimental import multihost_utils as mh

    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = mh.process_allgather(np.asarray(data.size))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: data.size] = data
    return [json.loads(bytes(row[:n]).decode()) for row, n in zip(mh.process_allgather(padded), sizes)]


def together(fn: Callable[[], T], what: str = "") -> T:
    if jax.process_count() == 1:
        return fn()
    from asymjax import errors

    try:
        value, caught = fn(), None
    except (errors.InputError, errors.DivergedError, OSError) as error:
        value, caught = None, error
    outcomes = _share(None if caught is None else [type(caught).__name__, str(caught)])
    for index, outcome in enumerate(outcomes):
        if outcome:
            kind = getattr(errors, outcome[0], errors.InputError)
            raise kind(outcome[1] if index == jax.process_index() else f"process {index}: {outcome[1]}")
    return value


def lead(fn: Callable[[], T], what: str = "") -> T | None:
    return together(fn if is_leader() else lambda: None, what)


def agree(what: str, values: Mapping[str, Any]) -> None:
    pass


def anyone(flag: bool) -> bool:
    return flag if jax.process_count() == 1 else any(_share(bool(flag)))


def gather(tree: PyTree) -> PyTree:
    def one(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        from jax.experimental import multihost_utils as mh

        return mh.process_allgather(leaf, tiled=True)

    return jax.tree.map(one, tree)


def local_rows(array) -> tuple[int, int]:
    starts = sorted({s.index[0].indices(array.shape[0])[:2] for s in array.addressable_shards})
    return starts[0][0], starts[-1][1]


def local(tree: PyTree) -> PyTree:
    def one(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return np.asarray(leaf)
        parts = {s.index[0].indices(leaf.shape[0])[0]: s.data for s in leaf.addressable_shards}
        return np.concatenate([np.asarray(parts[i]) for i in sorted(parts)])

    return jax.tree.map(one, tree)


def in_turn(fn: Callable[[], None], one_by_one: bool) -> None:
    if not one_by_one or jax.process_count() == 1:
        together(fn)
        return
    for index in range(jax.process_count()):
        together(fn if index == jax.process_index() else lambda: None)
