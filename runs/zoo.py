"""Train a zoo: many small networks, each with a recipe drawn for it, made to be read by other networks.

    python runs/zoo.py --arch w_asym --num-networks 10000

    python runs/zoo.py --start shared

One kind of networks a run; --start shared makes all begin at one initialisation. The same command resumes a run that
was stopped. The run directory (last line printed) holds the weights, scores and recipes of all networks, which
asymjax.read_zoo reads, and figures/ with the spread of scores.
"""

from dataclasses import replace
from pathlib import Path

from asymjax.data.config import DataConfig
from asymjax.experiments.zoo.config import Config
from asymjax.lab import command_line
from asymjax.lab.command_line import EMBEDDED_IMAGES
from asymjax.models.backbones import CNN
from asymjax.models.config import ModelConfig
from asymjax.models.presets import MODEL_PRESETS
from asymjax.train.optimizers import drawn

DEFAULT = Config()
RESNET8 = MODEL_PRESETS["paper_resnet8_metanet"]
PRESETS = {
    "default": DEFAULT,
    "smoke": replace(DEFAULT, num_networks=64),
    # The network of the Small CNN Zoo (Unterthiner et al. 2020), 4,970 parameters on images of one channel.
    "small_cnn": Config(
        data=DataConfig(EMBEDDED_IMAGES),
        model=ModelConfig(backbone=CNN((16, 16, 16), "stride", norm="none", activation="relu")),
        optimizer=drawn(0.03, 2, 20, 64),
    ),
    # Lim et al. (2024), without their augmentation; the rate rises over 5 epochs of 45,000 rows.
    "resnet8": Config(
        data=DataConfig("cifar10"),
        model=RESNET8.of("standard"),
        optimizer=replace(drawn(0.5, 10, 40, 512), schedule="linear", warmup_steps=435),
        num_networks=10_000,
    ),
}


def main(config: Config) -> Path:
    """Train one zoo, draw and print what it is, and return its run directory."""
    from asymjax.experiments import reports
    from asymjax.experiments.zoo.run import run_zoo

    return reports.conclude(run_zoo(config))


if __name__ == "__main__":
    command_line.run(main, PRESETS, __doc__, {"resnet8": RESNET8})
