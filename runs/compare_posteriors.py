"""Compare the posteriors of several methods, by samplers and by fits: what removing symmetries does to them.

    python runs/compare_posteriors.py
    python runs/compare_posteriors.py --archs standard w_asym --vary fixed_scale --values 0.25 0.5 1
    python runs/compare_posteriors.py --samplers hmc meanfield meanfield,symmetrise=bethe lowrank laplace

samples every network by every sampler several times, each a run of its own below the run directory, with priors matched
in the scale of their outputs, and prints numbers with intervals and differences to the standard network. Where a
sampler is not hmc, all are held against two runs of hmc on the same network. The same command resumes a study that was
stopped. The run directory (last line printed) holds summary.json, results.zarr and figures/.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.compare_posteriors.config import Config, StudyConfig
from asymjax.lab import command_line
from asymjax.models.backbones import MLP
from asymjax.models.config import Models, each_method

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    # With fixed output weights as large as by default, outputs of w_asym vary more than those of standard ever do.
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        models=Models(
            each_method(fixed_scale=(0.5, 0.5, 0.1)),
            MLP((16, 16), norm="none", activation="tanh"),
            ("standard", "w_asym", "sigma_asym", "pruned"),
        ),
    ),
    "smoke": replace(
        DEFAULT,
        study=StudyConfig(num_repeats=2, num_chains=2, num_draws=16, num_warmup=20, map_steps=100),
        models=Models(backbone=MLP((6,)), archs=("standard", "w_asym")),
    ),
}


def main(config: Config) -> Path:
    """Run one study, draw and print what it found, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.compare_posteriors.run import run_study

    return reports.conclude(run_study(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
