"""Compare the posteriors of several methods: what removing symmetries does to sampling, and to predictions.

    python runs/compare_posteriors.py
    python runs/compare_posteriors.py --archs standard w_asym --vary fixed_scale --values 0.25 0.5 1
    python runs/compare_posteriors.py --sampler mclmc

samples every arm several times, each a run of its own below the run directory, with priors matched in the scale of
their outputs, and prints numbers with intervals and differences to the standard network. The same command resumes a
study that was stopped. The run directory (last line printed) holds summary.json, results.zarr and what runs/report.py
draws figures from; so does each run below it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from asymjax.config import DataConfig, PosteriorConfig, RunConfig, SeedConfig, StudyConfig
from asymjax.lab import command_line
from asymjax.lab.command_line import PlainModelConfig


@dataclass(frozen=True)
class Config:
    """All settings of a study."""

    data: DataConfig = field(default_factory=DataConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    model: PlainModelConfig = field(default_factory=lambda: PlainModelConfig(widths=(16, 16)))
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    seeds: SeedConfig = field(default_factory=SeedConfig)
    run: RunConfig = field(default_factory=RunConfig)


DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    # With fixed output weights as large as by default, outputs of w_asym vary more than those of standard ever do.
    "regression": replace(
        DEFAULT,
        data=DataConfig("diabetes"),
        study=StudyConfig(archs=("standard", "w_asym", "sigma_asym", "pruned")),
        model=PlainModelConfig(widths=(16, 16), norm="none", activation="tanh", fixed_scale=(0.5, 0.5, 0.1)),
    ),
    "smoke": replace(
        DEFAULT,
        study=StudyConfig(
            archs=("standard", "w_asym"), num_repeats=2, num_chains=2, num_draws=16, num_warmup=20, map_steps=100
        ),
        model=PlainModelConfig(widths=(6,)),
    ),
}


def main(config: Config) -> Path:
    """Run one study, print its tables and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.compare_posteriors.run import run_study

    path = run_study(config.data, config.model, config.posterior, config.study, config.seeds, config.run)
    reports.print_tables(path)
    return path


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
