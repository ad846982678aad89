"""Sample the posterior of a network by Hamiltonian Monte Carlo, and say how good it is and whether to trust it.

    python runs/bnn_hmc.py --arch sigma_asym

trains a MAP ensemble, starts a chain at each member, samples and diagnoses. The same command resumes a run that was
stopped. The run directory (last line printed) holds draws, summary.json and what runs/report.py draws figures from.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.grid import PosteriorGridConfig
from asymjax.inference.chains_config import HMCConfig
from asymjax.inference.posterior import PosteriorConfig
from asymjax.lab import command_line
from asymjax.lab.run_config import RunConfig
from asymjax.models.config import ModelConfig
from asymjax.rng import SeedConfig


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    hmc: HMCConfig = field(default_factory=HMCConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    grid: PosteriorGridConfig = field(default_factory=PosteriorGridConfig)
    run: RunConfig = field(default_factory=RunConfig)


DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(DEFAULT, hmc=HMCConfig(num_draws=40, num_warmup=40, map_steps=200, max_integration_steps=50)),
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        model=ModelConfig(widths=(16, 16), norm="none", activation="tanh"),
        hmc=HMCConfig(num_draws=1000, num_warmup=200),
    ),
}


def main(config: Config) -> Path:
    """Run one experiment and return its run directory."""
    from asymjax.experiments.posterior.grid_run import run_posterior_grid

    return run_posterior_grid(
        "hmc",
        config.data,
        config.model,
        config.posterior,
        config.hmc,
        config.seeds,
        config.grid,
        config.run,
    )


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
