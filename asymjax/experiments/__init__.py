"""Experiments: from a configuration to a finished run directory, by way of all rooms to the left.

In: the configuration groups of a script in ``runs/``. Out: the path of a run directory, finished or resumed. To add
one: a module here with one function, a script in ``runs/`` that calls it.
"""

from asymjax.experiments.compare_posteriors import run_study
from asymjax.experiments.linear_connectivity import connect_sweeps, train_and_connect
from asymjax.experiments.monotonic_interpolation import train_and_interpolate
from asymjax.experiments.posterior import run_posterior
from asymjax.experiments.posterior_grid import run_posterior_grid
from asymjax.experiments.train_grid import run_train_grid
from asymjax.experiments.train_sweep import run_train_sweep

__all__ = [
    "connect_sweeps",
    "run_posterior",
    "run_posterior_grid",
    "run_study",
    "run_train_grid",
    "run_train_sweep",
    "train_and_connect",
    "train_and_interpolate",
]
