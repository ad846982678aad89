"""Sample the posterior of a network on gradients of a few rows: the family of stochastic gradient Langevin dynamics.

    python runs/bnn_sgld.py --sampler sghmc --arch w_asym --dataset diabetes

The same command resumes a run that was stopped. The run directory (last line printed) holds draws, summary.json and
figures/, under the names that runs/bnn_hmc.py gives them.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.posterior.config import Config
from asymjax.inference.samplers import SGLD
from asymjax.inference.starts import Start
from asymjax.lab import command_line
from asymjax.lab.chains import ChainsConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig

DEFAULT = Config(sampler=SGLD())
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        sampler=SGLD(thinning=10, num_warmup=200),
        start=Start(map_steps=200),
        chains=ChainsConfig(num_draws=40),
    ),
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        model=ModelConfig(backbone=MLP((16, 16), norm="none", activation="tanh")),
        chains=ChainsConfig(num_draws=1000),
    ),
}


def main(config: Config) -> Path:
    """Run one experiment, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.posterior.grid_run import run_posterior_grid

    return reports.conclude(run_posterior_grid(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
