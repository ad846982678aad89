"""Sample the posterior of a network by Hamiltonian Monte Carlo, and report how good it is and whether to trust it.

    python runs/bnn_hmc.py --arch sigma_asym

trains a MAP ensemble, starts chains near draws of the prior, samples and diagnoses. It ends with test scores, R-hat,
ESS, one sentence on whether to trust the predictions, and figures. The same command resumes a run that was stopped. The
run directory (last line printed) holds draws, summary.json and figures/; runs/report.py compares several.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.posterior.config import Config
from asymjax.inference.samplers import HMC
from asymjax.inference.starts import Start
from asymjax.lab import command_line
from asymjax.lab.chains import ChainsConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig

DEFAULT = Config(sampler=HMC(), chains=ChainsConfig(num_draws=800))
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT,
        sampler=HMC(num_warmup=40, max_integration_steps=50),
        start=Start(map_steps=200),
        chains=ChainsConfig(num_draws=40),
    ),
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        model=ModelConfig(backbone=MLP((16, 16), norm="none", activation="tanh")),
        sampler=HMC(num_warmup=200),
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
