"""Bayesian networks by low-rank variational inference, beside table 2 of Lim et al. (2024).

    python benchmarks/bnn_table.py --data-dir DIR
    python benchmarks/bnn_table.py --data-dir DIR --networks mlp16 --kinds pruned syre w_asym_start

The recipe is theirs: hidden layers of 256 with LayerNorm and ReLU, 8 of 256 inputs a unit fixed at scale 0.5, rank 4
with a diagonal of exp(-10), a prior of standard deviation 10 / sqrt(units of the layer), the likelihood counted 8
times, batches of 250, Adam at 5e-4 for 10,000 steps, 25 draws to predict. What differs: rows are those of the training
files that are there, without crops and flips; the rate falls to zero by a cosine, and is in units of the prior's
deviation in a hidden layer; norms have densities, of a prior of standard deviation 0.1; the prior of a convolution goes
by its outputs, and what w_asym fixes of one is our default. ``w_asym_start`` is a standard network that starts at the
effective weights of a W-asymmetric one. The last line is the file of the results.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

Network = Literal["mlp8", "mlp16", "resnet8", "resnet20"]


class Recipe(NamedTuple):
    """What the networks of a family share: as published, but that convolutions' prior goes by their outputs.

    Attributes
    ----------
    prior_scale : standard deviation of the prior times the square root of the units of a layer.
    units : of a hidden layer.
    log_variance : log of the variance of the diagonal.
    learning_rate : in the units of the weights of such a layer.
    """

    prior_scale: float
    units: int
    log_variance: float
    learning_rate: float

    @property
    def hidden_scale(self) -> float:
        """Standard deviation of the prior in a hidden layer."""
        return self.prior_scale / math.sqrt(self.units)


RECIPES = {"mlp": Recipe(10.0, 256, -10, 5e-4), "resnet": Recipe(1.0, 32, -12, 1e-3)}
NUM_TRAIN_ROWS = 2_000
"""Training rows that are predicted for the training loss."""


class Published(NamedTuple):
    """A row of the table, means over ten networks: losses in nats, accuracies in [0, 1]."""

    train_loss: float
    test_loss: float
    ece: float
    accuracy: float
    accuracy_at_half: float


PUBLISHED: Mapping[tuple[str, str], Published] = {
    ("mlp8", "standard"): Published(1.34, 1.24, 0.039, 0.5637, 0.5287),
    ("mlp8", "w_asym"): Published(1.31, 1.22, 0.042, 0.5708, 0.5415),
    ("mlp16", "standard"): Published(2.29, 2.28, 0.026, 0.1354, 0.1334),
    ("mlp16", "w_asym"): Published(1.39, 1.27, 0.045, 0.5516, 0.5142),
    ("resnet20", "standard"): Published(0.596, 0.535, 0.045, 0.8198, 0.7237),
}
"""Network and kind -> table 2, CIFAR-10."""
PUBLISHED_WEIGHT = 8.0


@dataclass(frozen=True)
class Config:
    """What is fitted."""

    data_dir: Path | None = None
    """Folder with the files of the data."""
    dataset: str = "cifar10"
    """Data of classes."""
    networks: tuple[Network, ...] = ("mlp8", "mlp16")
    """Networks."""
    kinds: tuple[str, ...] = ("standard", "w_asym")
    """Methods, or w_asym_start."""
    likelihood_weights: tuple[float, ...] = (PUBLISHED_WEIGHT, 1.0)
    """How many times the likelihood counts."""
    num_fits: int = 10
    """Networks of a kind."""
    num_steps: int = 10_000
    """Steps of a fit."""
    half: bool = True
    """Fit cells that the table has with half of the steps as well."""
    batch_size: int = 250
    """Rows a step."""
    name: str = "bnn_table"
    """Name of the file of the results."""


def split_name(network: Network) -> tuple[str, int]:
    """Return backbone and depth."""
    backbone = network.rstrip("0123456789")
    return backbone, int(network.removeprefix(backbone))


def model_config(network: Network, kind: str) -> Any:
    """Return the network as settings."""
    from asymjax.models.config import ModelConfig

    arch = "standard" if kind == "w_asym_start" else kind
    backbone, depth = split_name(network)
    if backbone == "resnet":
        return ModelConfig.of(arch, "resnet", depth=depth)
    settings: dict[str, Any] = {"norm": "layer", "activation": "relu", "widths": (256,) * depth}
    if arch in ("w_asym", "pruned"):
        settings["num_fixed"] = (8,)
    if arch == "w_asym":
        settings["fixed_scale"] = (0.5,)
    return ModelConfig.of(arch, **settings)


def fit_cell(
    config: Config, network: Network, kind: str, weight: float, num_steps: int, dataset: Any
) -> dict[str, Any]:
    """Fit all networks of a cell, and score each: losses of training rows and test rows, ECE, accuracy; [fit]."""
    import jax
    import numpy as np

    import asymjax
    from asymjax import rng
    from asymjax.diagnostics.predictive import classification_metrics, classification_sums
    from asymjax.inference.vi import LowRank
    from asymjax.models import draw_frozen

    recipe = RECIPES[split_name(network)[0]]
    prior = asymjax.NormalPrior("fan_out", recipe.prior_scale, output_scale=1.0, norm_scale=0.1 / recipe.prior_scale)
    settings = model_config(network, kind)
    model = settings.build(dataset.input_shape, dataset.num_outputs, prior)
    frozen = draw_frozen(model, 0)
    posterior = asymjax.make_posterior(model, dataset.train, prior, frozen=frozen)
    donor, constants = model, frozen
    if kind == "w_asym_start":
        donor = model_config(network, "w_asym").build(dataset.input_shape, dataset.num_outputs, prior)
        constants = draw_frozen(donor, 0)

    def start(key: Any) -> Any:
        return model.split(donor.merge(donor.init(key, constants), constants), frozen)

    few = jax.tree.map(lambda leaf: leaf[:NUM_TRAIN_ROWS], dataset.train)
    result = asymjax.fit(
        jax.random.key(0),
        posterior,
        family=LowRank(
            num_warmup=num_steps,
            num_elbo_draws=5,
            learning_rate=recipe.learning_rate / recipe.hidden_scale,
            batch_size=config.batch_size,
            init_scale=0.009 / recipe.hidden_scale,
            likelihood_weight=weight,
            fixed_variance=math.exp(recipe.log_variance),
        ),
        num_fits=config.num_fits,
        num_draws=25,
        start=jax.vmap(start)(rng.member_keys(rng.role_key(0, "init"), config.num_fits)),
        keep=lambda position: {
            "train": posterior.predict(position, frozen, few.inputs),
            "test": posterior.predict(position, frozen, dataset.test.inputs),
        },
        show_progress=False,
    )

    def scored(part: str, targets: Any) -> list[dict[str, float]]:
        return [classification_metrics(classification_sums(fit, np.asarray(targets))) for fit in result.kept[part]]

    train, test = scored("train", few.targets), scored("test", dataset.test.targets)
    return {
        "train_loss": [row["nll"] for row in train],
        "test_loss": [row["nll"] for row in test],
        "ece": [row["ece"] for row in test],
        "accuracy": [row["accuracy"] for row in test],
        "elbo": np.asarray(result.tuned.elbo).tolist(),
        "kl": np.asarray(result.tuned.kl).tolist(),
    }


def describe(row: Mapping[str, Any]) -> str:
    """Write a row in words."""
    import numpy as np

    words = "; ".join(
        f"{name} {np.mean(row[name]):.3f}, from {np.min(row[name]):.3f} to {np.max(row[name]):.3f}"
        for name in Published._fields
        if row[name]
    )
    published = PUBLISHED.get((row["network"], row["kind"])) if row["likelihood_weight"] == PUBLISHED_WEIGHT else None
    told = "" if published is None else f"; published {published.test_loss}, {published.ece}, {published.accuracy}"
    return f"{row['network']} {row['kind']}, likelihood {row['likelihood_weight']:g} times: {words}{told}"


def main(config: Config) -> list[dict[str, Any]]:
    """Fit all cells and print one row each."""
    import time

    from measure import save

    from asymjax import data

    dataset, rows, saved = data.load(config.dataset, config.data_dir), [], None
    for network, kind, weight in itertools.product(config.networks, config.kinds, config.likelihood_weights):
        begun = time.perf_counter()
        row: dict[str, Any] = {"network": network, "kind": kind, "likelihood_weight": weight}
        row |= fit_cell(config, network, kind, weight, config.num_steps, dataset)
        has_half = config.half and weight == PUBLISHED_WEIGHT and (network, kind) in PUBLISHED
        half = fit_cell(config, network, kind, weight, config.num_steps // 2, dataset) if has_half else {}
        row |= {"accuracy_at_half": half.get("accuracy"), "seconds": time.perf_counter() - begun}
        rows.append(row)
        print(describe(row), flush=True)
        saved = save(config.name, rows, {"num_train_rows": len(dataset.train.targets)})
    print(saved)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
