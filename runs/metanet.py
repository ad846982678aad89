"""Predict a score of networks from their weights, by metanetworks with every symmetry or none.

    python runs/zoo.py --num-networks 4000
    python runs/metanet.py --zoo results/zoo/... --metanets statnn flat_mlp hnp probe

fits every metanetwork to every zoo: the learning rate is chosen on seeds of its own, the epoch on networks apart, and
what is reported are networks that neither saw. The same command resumes a run that was stopped. The run directory (last
line printed) holds summary.json with all scores, results.zarr with the predictions for every network, and figures/.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.experiments.metanetworks.config import Config
from asymjax.lab import command_line
from asymjax.metanets.config import FitConfig

DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(
        DEFAULT, fit=FitConfig(num_epochs=5, batch_size=16, learning_rates=(1e-2,), num_trials=1, num_seeds=2)
    ),
    # The four of Lim et al. (2024), trained as there: the rate by one run, raw targets.
    "paper": Config(
        metanets=("flat_mlp", "dmc", "deepsets", "statnn"),
        fit=FitConfig(learning_rates=(1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2), num_trials=1, targets="raw"),
    ),
}


def main(config: Config) -> Path:
    """Fit the metanetworks of one run, draw and print what they predict, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.metanetworks.run import run_metanets

    return reports.conclude(run_metanets(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__)
