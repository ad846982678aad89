"""A run directory that keeps draws in memory and resumes nothing."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np


class MemoryRun:
    """Stands in for ``RunDir`` where a test wants the draws alone."""

    path, show_progress = Path("."), False

    def __init__(self):
        self.seconds = {}
        self.chunks = []

    def clock(self, kind):
        return nullcontext()

    def settle(self, name, value, check=None):
        return value

    def profiled(self, phase):
        return nullcontext()

    def restore(self, phase, like):
        return 0, None

    def commit(self, phase, num_done, num_chunks, state, draws=None, metrics=None):
        if draws is not None:
            self.chunks.append(draws)

    @property
    def draws(self):
        """All draws by name, [chain, draw, ...]."""
        return {name: np.concatenate([chunk[name] for chunk in self.chunks], axis=1) for name in self.chunks[0]}
