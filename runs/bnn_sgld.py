"""Sample the posterior of a network on gradients of a few rows: the family of stochastic gradient Langevin dynamics.

    python runs/bnn_sgld.py --sampler sghmc --arch w_asym --dataset diabetes

The same command resumes a run that was stopped. The run directory (last line printed) holds draws, summary.json and
what runs/report.py draws figures from, under the names that runs/bnn_hmc.py gives them.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.grid import PosteriorGridConfig
from asymjax.inference.chains_config import MinibatchConfig
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
    sgld: MinibatchConfig = field(default_factory=MinibatchConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    grid: PosteriorGridConfig = field(default_factory=PosteriorGridConfig)
    run: RunConfig = field(default_factory=RunConfig)


DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT, sgld=MinibatchConfig(num_draws=40, thinning=10, num_warmup=200, map_steps=200, num_cycles=2)
    ),
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        model=ModelConfig(widths=(16, 16), norm="none", activation="tanh"),
        sgld=MinibatchConfig(num_draws=1000),
    ),
}


def main(config: Config) -> Path:
    """Run one experiment and return its run directory."""
    from asymjax.experiments.posterior.grid_run import run_posterior_grid

    return run_posterior_grid(
        "sgld",
        config.data,
        config.model,
        config.posterior,
        config.sgld,
        config.seeds,
        config.grid,
        config.run,
    )


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
