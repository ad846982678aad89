"""Published numbers that a run of ours can be put beside."""

from collections.abc import Mapping
from typing import Any, NamedTuple

SOURCE = "Lim et al. (2024), arXiv 2405.20231, table 1, row MLP (MNIST)"
BACKBONE = {"backbone": "mlp", "widths": [512, 512, 512], "norm": "layer", "activation": "gelu"}
METHODS = {
    "num_fixed": [64, 64, 64, 256],
    "mask_kind": "random_subsets",
    "fixed_scale": [1.0, 1.0, 0.5, 0.25],
    "gate_scale": 1.0,
}
"""Settings of the methods in the form of config.json; a method has some of them."""
OPTIMIZER = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.03,
    "label_smoothing": 0.0,
    "recipe": "shared",
    "schedule": "constant",
    "warmup_steps": 0,
    "clip_norm": None,
    "num_epochs": 25,
    "batch_size": 64,
    "trained": "all",
}
NUM_TRAIN_ROWS = 54_000


class Published(NamedTuple):
    """A midpoint barrier of the test loss, over "at least 5 pairs".

    Attributes
    ----------
    name : what the paper calls it.
    arch : our method.
    is_aligned : whether one network of each pair was permuted to match the other.
    mean, std : over the pairs.
    """

    name: str
    arch: str
    is_aligned: bool
    mean: float
    std: float


BARRIERS = (
    Published("standard", "standard", False, 0.188, 0.12),
    Published("standard + Git Re-Basin", "standard", True, -0.006, 0.00),
    Published("sigma-Asym", "sigma_asym", False, 0.117, 0.01),
    Published("W-Asym", "w_asym", False, -0.012, 0.00),
)


def beside_published(config: Mapping[str, Any]) -> dict[str, Published]:
    """Return the kinds of a run (of config.json) that stand beside a published number that is not aligned.

    Kinds of the paper's data set and backbone, and of its methods, however these are set; none that begin at the
    weights of another method, have masks of their own or train a part.
    """
    rows = {published.arch: published for published in BARRIERS if not published.is_aligned}
    if config["data"]["dataset"] != "mnist":
        return {}
    return {
        name: rows[kind["model"]["arch"]]
        for name, kind in config["kinds"].items()
        if kind["model"]["arch"] in rows
        and _agrees(kind["model"], BACKBONE)
        and (kind["donor"], kind["masks"], kind["optimizer"]["trained"]) == (None, "shared", "all")
    }


def _agrees(model: Mapping[str, Any], published: Mapping[str, Any]) -> bool:
    """Return whether a model has the published values of all settings that it has."""
    return all(model.get(name, value) == value for name, value in published.items())


def what_differs(config: Mapping[str, Any], num_rows: Mapping[str, int]) -> list[str]:
    """Return what was done otherwise than in the paper, where for some kinds alone with their names.

    Parameters
    ----------
    config : of config.json.
    num_rows : split -> rows.
    """
    kinds: dict[str, list[str]] = {}
    beside = beside_published(config)
    for name in beside:
        own = {**config["kinds"][name]["model"], **config["kinds"][name]["optimizer"]}
        for setting, expected in (METHODS | OPTIMIZER).items():
            if own.get(setting, expected) != expected:
                kinds.setdefault(f"{setting} {own[setting]} instead of {expected}", []).append(name)
    found = [
        difference if len(names) == len(beside) else f"{', '.join(names)}: {difference}"
        for difference, names in kinds.items()
    ]
    if num_rows["train"] != NUM_TRAIN_ROWS:
        found.append(f"{num_rows['train']:,} training rows instead of {NUM_TRAIN_ROWS:,}")
    return [
        *found,
        "another random choice of the held-out 6,000 rows",
        "inputs standardised with mean and standard deviation of the training rows, not with 0.1307 and 0.3081",
        "one mask for all networks of a kind, where the paper's masks are drawn anew in every run",
    ]


# Monotonic linear interpolation ----------------------------------------------------------------------------------

PATHS_SOURCE = "Lim et al. (2024), arXiv 2405.20231, monotonic linear interpolation of 300 ResNet8 networks on CIFAR-10"
PATHS_MODEL = {
    "backbone": "resnet",
    "depth": 8,
    "width_multiplier": 1.0,
    "norm": "layer",
    "activation": "relu",
    "num_fixed": [3, *[8] * 9],
    "mask_kind": "filter_subsets",
    "fixed_scale": [2.0],
    "gate_scale": "inv_sqrt",
}
PATHS_OPTIMIZER = {
    "recipe": "drawn",
    "learning_rate": 0.5,
    "weight_decay": 0.1,
    "label_smoothing": 0.2,
    "schedule": "linear",
    "batch_size": 512,
}
PATHS_ROWS = 50_000


class PublishedPaths(NamedTuple):
    """Statistics of the training loss on the paths from start to end, over networks.

    Attributes
    ----------
    name : what the paper calls it.
    arch : our method.
    delta, local_convexity, global_convexity : mean and standard deviation; the last one as the released code has it.
    share_monotonic : from 0 to 1.
    num_networks : that were finite.
    """

    name: str
    arch: str
    delta: tuple[float, float]
    share_monotonic: float
    local_convexity: tuple[float, float]
    global_convexity: tuple[float, float]
    num_networks: int


PATHS = (
    PublishedPaths("standard", "standard", (0.079, 0.109), 0.263, (0.548, 0.139), (0.823, 0.229), 300),
    PublishedPaths("sigma-Asym", "sigma_asym", (0.004, 0.047), 0.873, (0.675, 0.143), (0.976, 0.098), 276),
    PublishedPaths("W-Asym", "w_asym", (-0.027, 0.026), 1.0, (0.769, 0.165), (1.0, 0.0), 300),
)


def what_differs_on_paths(config: Mapping[str, Any], num_rows: Mapping[str, int]) -> list[str]:
    """Return what was done otherwise than for the published statistics of paths.

    Parameters
    ----------
    config : of config.json.
    num_rows : split -> rows.
    """
    found = []
    if config["data"]["dataset"] != "cifar10":
        found.append(f"{config['data']['dataset']} instead of CIFAR-10")
    models = [kind["model"] for kind in config["kinds"].values()]
    if not all(_agrees(model, PATHS_MODEL) for model in models):
        found.append(f"another network ({models[0]['backbone']})")
    optimizer = next(iter(config["kinds"].values()))["optimizer"]
    found += [
        f"{name} {optimizer[name]} instead of {expected}"
        for name, expected in PATHS_OPTIMIZER.items()
        if optimizer[name] != expected
    ]
    found.append(f"{optimizer['num_epochs']} epochs for all, where the paper draws 10 to 40")
    if num_rows["train"] != PATHS_ROWS:
        found.append(f"{num_rows['train']:,} training rows instead of {PATHS_ROWS:,}")
    return [
        *found,
        "all networks begin uniform in +-1/sqrt(fan-in), where the paper's standard and sigma-Asym ones are wider",
        "images as they are, where the paper flips, shifts and cuts them, in training and on the path",
        "float32, where the paper measures in half precision",
    ]
