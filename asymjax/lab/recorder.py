"""What the host loop writes to: a run directory, or memory."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from asymjax.types import PyTree


class Recorder(Protocol):
    """What the loop asks of where chunks are kept; see :class:`~asymjax.lab.rundir.RunDir` for each."""

    show_progress: bool
    is_quiet: bool
    """Whether no plans are printed, only progress."""

    def clock(self, kind: str) -> AbstractContextManager[None]:
        """Return a context whose seconds count as of one kind."""

    def profiled(self, phase: str) -> AbstractContextManager[None]:
        """Return a context that may be traced."""

    def settle(self, name: str, value: int) -> int:
        """Return what was settled under a name when the run began."""

    def restore(self, phase: str, like: PyTree, has_draws: bool = False) -> tuple[int, PyTree]:
        """Return the chunks that are done, and the state after them."""

    def commit(
        self,
        phase: str,
        num_done: int,
        num_chunks: int,
        state: PyTree,
        draws: Mapping[str, np.ndarray] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep a chunk."""


class InMemory:
    """Keeps draws and metrics in memory, and has nothing to resume."""

    def __init__(self, show_progress: bool = False):
        self.show_progress, self.is_quiet = show_progress, True
        self.seconds: dict[str, float] = {}
        self.chunks: list[Mapping[str, np.ndarray]] = []
        self.metrics: list[Mapping[str, Any]] = []

    def clock(self, kind: str) -> AbstractContextManager[None]:
        """Count no seconds."""
        return nullcontext()

    def profiled(self, phase: str) -> AbstractContextManager[None]:
        """Trace nothing."""
        return nullcontext()

    def settle(self, name: str, value: int) -> int:
        """Return the value, which settles nothing."""
        return value

    def restore(self, phase: str, like: PyTree, has_draws: bool = False) -> tuple[int, PyTree]:
        """Return that nothing is done."""
        return 0, None

    def commit(
        self,
        phase: str,
        num_done: int,
        num_chunks: int,
        state: PyTree,
        draws: Mapping[str, np.ndarray] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep draws and metrics."""
        if draws is not None:
            self.chunks.append(draws)
        if metrics is not None:
            self.metrics.append({"phase": phase, **metrics})

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """All draws by name, [chain, draw, ...]."""
        return {name: np.concatenate([chunk[name] for chunk in self.chunks], axis=1) for name in self.chunks[0]}
