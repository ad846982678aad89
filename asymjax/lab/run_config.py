"""Where results go and where work runs."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asymjax.settings import Count, Natural, Settings


@dataclass(frozen=True)
class RunConfig(Settings):
    """Where results go and where work runs; none of it changes a result beyond rounding."""

    preset: str = "default"
    """Named settings to start from; flags given beside it win."""
    out: Path = Path("results")
    """Parent of the run directories."""
    run_dir: Path | None = None
    """This very run directory, instead of a name below ``out``."""
    force: bool = False
    """Delete a finished or half-finished run in that directory and start again."""
    placement: Literal["auto", "vectorized", "sequential"] | Count = "auto"
    """Networks or chains inside a device: at once (vmap), one after the other (lax.map), or so many at once; auto is
    sequential on CPU and vectorized on accelerators."""
    num_devices: Count | None = None
    """Devices to spread networks or chains over; must divide their number. Default: the largest number that does."""
    round_size: Count | None = None
    """Networks of a sweep that are trained side by side, over all devices; more are trained in further rounds. Default:
    a power of two that memory has room for, up to 1024 or 64 a device. A run that began keeps its own."""
    progress: bool = True
    """Show a progress bar."""
    profile: bool = False
    """Trace the first chunk of each phase into profile/ of the run directory, for XProf or Perfetto."""
    distributed: bool = False
    """Run as one of several processes that Slurm, a TPU pod or another cluster that JAX knows has started."""
    coordinator: str | None = None
    """Run as one of several processes: HOST:PORT of process 0, the same for all."""
    num_processes: Count | None = None
    """How many processes there are (with --coordinator)."""
    process_id: Natural | None = None
    """Which of them this is, from 0 (with --coordinator)."""


def how_to_go_on() -> str:
    """Return what continues a run that was stopped: its command, but for what would delete the run."""
    return f"run the same command {'without --force ' if '--force' in sys.argv else ''}to go on"
