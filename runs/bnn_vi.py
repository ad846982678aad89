"""Fit the posterior of a network by variational inference; beside that as runs/bnn_hmc.py.

    python runs/bnn_vi.py --arch w_asym --family lowrank
    python runs/bnn_vi.py --symmetrise bethe --backbone mlp --widths 32 --norm none
    python runs/bnn_vi.py --dataset diabetes --preset regression --family fullrank

Every chain is a fit from its own init seed, and its draws are independent draws of what was fitted. The same command
resumes a run that was stopped. The run directory (last line printed) holds draws, summary.json, with bounds on the log
evidence (ELBO), and figures/, under the names that runs/bnn_hmc.py gives them.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.posterior.config import Config
from asymjax.inference.starts import Start
from asymjax.inference.vi import MeanField
from asymjax.lab import command_line
from asymjax.lab.chains import ChainsConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig

DEFAULT = Config(sampler=MeanField())
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        sampler=MeanField(num_warmup=200, num_elbo_draws=20),
        start=Start(map_steps=200),
        chains=ChainsConfig(num_draws=40),
    ),
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        model=ModelConfig(backbone=MLP((16, 16), norm="none", activation="tanh")),
    ),
}


def main(config: Config) -> Path:
    """Run one experiment, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.posterior.grid_run import run_posterior_grid

    return reports.conclude(run_posterior_grid(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
