"""Runs below one parent run directory, a variant each."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from asymjax.errors import DivergedError
from asymjax.lab import processes, run_files
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir


def make_runs(folder: Path, makers: Mapping[str, Callable[[RunConfig], Any]], run_config: RunConfig) -> None:
    """Make the runs that are not finished.

    Parameters
    ----------
    folder : where they go, each to its name.
    makers : name -> what makes it, given where.
    run_config : how they run.

    Raises
    ------
    DivergedError
        If some diverge, once all others are finished; names them.
    """
    diverged = []
    for name, make in makers.items():
        path = folder / name
        if processes.anyone((path / "DONE").exists()):  # A file system may show it to some of them later.
            continue
        print(f"{name}: ", end="", flush=True)
        try:
            make(replace(run_config, run_dir=path, force=False))
        except DivergedError as error:
            diverged.append(f"{path}: {error}")
    if diverged:
        raise DivergedError("; ".join(diverged))


def finish_runs(
    run: RunDir,
    makers: Mapping[str, Callable[[RunConfig], Any]],
    run_config: RunConfig,
    keep: Callable[[dict[str, Any]], dict[str, Any]] = lambda summary: summary,
) -> Path:
    """Make the runs below a parent with :func:`make_runs`, and gather what to ``keep`` of their summaries."""
    make_runs(run.path, makers, run_config)
    run.finish(
        lambda: ({"points": {name: keep(run_files.read_json(run.path / name / "summary.json")) for name in makers}}, {})
    )
    return run.path
