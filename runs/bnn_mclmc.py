"""Sample the posterior of a network by microcanonical Langevin Monte Carlo; beside that as runs/bnn_hmc.py.

    python runs/bnn_mclmc.py --arch sigma_asym
    python runs/bnn_mclmc.py --preset mile --dataset diabetes
    python runs/bnn_mclmc.py --preset uci_quick --dataset uci/airfoil --data-dir data/uci

The same command resumes a run that was stopped. The run directory (last line printed) holds draws, summary.json and
figures/, under the names that runs/bnn_hmc.py gives them; the mean squared energy error
over the number of trainable entries shows how biased the draws are.

The preset mile has the settings of Sommer et al. (2025, "Microcanonical Langevin Ensembles") for any data set: 12
chains from a deep ensemble, 50,000 steps of warmup, one in ten of 10,000 kept, unit Gaussian priors, two layers of 16
ReLU units. Its ensemble is of optima of the posterior, where theirs stops early. uci_quick is shorter, uci_long
deeper with 10 chains.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.posterior.config import Config
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.samplers import MCLMC
from asymjax.inference.starts import Start
from asymjax.lab import command_line
from asymjax.lab.chains import ChainsConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig

DEFAULT = Config(sampler=MCLMC(), chains=ChainsConfig(num_draws=1000))
MILE = replace(
    DEFAULT,
    model=ModelConfig(backbone=MLP((16, 16), norm="none", activation="relu")),
    posterior=PosteriorConfig(prior="isotropic", output_prior_scale=1.0),
    sampler=MCLMC(num_warmup=50_000),
    start=Start(start="map", map_steps=10_000),
    chains=ChainsConfig(num_chains=12, num_draws=1000),
)
UCI = replace(
    MILE,
    data=DataConfig("uci/airfoil"),
    sampler=MCLMC(),
    start=Start(map_steps=1000, map_learning_rate=0.005),
    chains=ChainsConfig(num_chains=8, num_draws=400),
)
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT, sampler=MCLMC(num_warmup=400), start=Start(map_steps=200), chains=ChainsConfig(num_draws=40)
    ),
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        model=ModelConfig(backbone=MLP((16, 16), norm="none", activation="tanh")),
    ),
    "mile": MILE,
    "uci_quick": UCI,
    "uci_long": replace(
        UCI,
        model=ModelConfig(backbone=MLP((16, 16, 16, 16), norm="none", activation="relu")),
        sampler=MCLMC(num_warmup=50_000),
        chains=ChainsConfig(num_chains=10, num_draws=1000),
    ),
}


def main(config: Config) -> Path:
    """Run one experiment, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.posterior.grid_run import run_posterior_grid

    return reports.conclude(run_posterior_grid(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
