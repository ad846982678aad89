"""Sample the posterior of a network by Hamiltonian Monte Carlo, and say how good it is and whether to trust it.

    python runs/bnn_hmc.py --arch sigma_asym

trains a MAP ensemble, starts a chain at each member, samples and diagnoses. The same command resumes a run that was
stopped. The run directory (last line printed) holds draws, summary.json and what runs/report.py draws figures from.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.posterior.config import Config
from asymjax.inference.chains_config import HMCConfig
from asymjax.lab import command_line
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(DEFAULT, chains=HMCConfig(num_draws=40, num_warmup=40, map_steps=200, max_integration_steps=50)),
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        model=ModelConfig(backbone=MLP((16, 16), norm="none", activation="tanh")),
        chains=HMCConfig(num_draws=1000, num_warmup=200),
    ),
}


def main(config: Config) -> Path:
    """Run one experiment and return its run directory."""
    from asymjax.experiments.posterior.grid_run import run_posterior_grid

    return run_posterior_grid(config)


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
