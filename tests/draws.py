"""Draws in a run directory, as a sampling phase leaves them."""

from asymjax.lab.rundir import RunDir


def write_draws(path, chunks):
    """Write chunks of draws, each name -> [chain, draw, ...]."""
    run = RunDir(path, show_progress=False)
    for index, draws in enumerate(chunks):
        run.write_draws("draws", index, len(chunks), draws)
