"""The null space of the metric of trained networks, in three parts, by method and backbone.

    python benchmarks/null_spaces.py

Small networks are trained on rows of digits, several of each method and backbone, and so are the directions counted
along which their outputs do not change: those of continuous symmetries (architectural), those of these weights at any
input (hidden), and those of the training rows alone (data). Beside them stands what ``describe`` counts from fixed
entries, and how many directions carry a small share of the metric only. Networks as they start are counted too.
"""

from dataclasses import dataclass
from typing import Any

import tyro

# Hidden layers of 16 units; twice 10; 12 behind a LayerNorm; convolutions of 4 and 8 channels.
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"widths": (16,), "norm": "none", "activation": "relu"},
    "deep": {"widths": (10, 10), "norm": "none", "activation": "relu"},
    "normed": {"widths": (12,), "norm": "layer", "activation": "gelu"},
    "cnn": {"channels": (4, 8), "norm": "none", "activation": "relu"},
}
ARCHS = ("standard", "w_asym", "sigma_asym", "syre", "pruned")
SHARES = (1e-2, 1e-4, 1e-6)


@dataclass(frozen=True)
class Config:
    """What is counted."""

    networks: tuple[str, ...] = tuple(NETWORKS)
    """Backbones."""
    archs: tuple[str, ...] = ARCHS
    """Methods."""
    num_networks: int = 5
    """Networks of each."""
    num_epochs: int = 100
    """Passes over the training rows."""
    num_rows: int = 300
    """Training rows whose outputs make the metric."""
    seed: int = 0
    """Of starts and orders."""
    save: bool = True
    """Write results/null_spaces.json."""


def count(config: Config, network: str, arch: str, dataset: Any) -> dict[str, Any]:
    """Train the networks of one method and backbone, count their null directions, and print the row."""
    import jax
    import numpy as np

    import asymjax
    from asymjax.models import draw_frozen
    from asymjax.models.backbones import CNN, MLP
    from asymjax.models.config import ModelConfig
    from asymjax.models.describe import describe
    from asymjax.models.methods import METHODS
    from asymjax.models.symmetries import CONTINUOUS
    from asymjax.paths.null_space import split_null_space
    from asymjax.symmetry.continuous import find_group
    from asymjax.train.trainer import initial_position

    backbone = (CNN if "channels" in NETWORKS[network] else MLP)(**NETWORKS[network])
    model_config = ModelConfig(backbone=backbone, method=METHODS[arch]())
    model = model_config.build(dataset.input_shape, dataset.num_outputs)
    frozen, key = draw_frozen(model, 0), jax.random.key(config.seed)
    trained = asymjax.train_sweep(
        key, model, dataset.train, num_seeds=config.num_networks, num_epochs=config.num_epochs, show_progress=False
    )
    counted = describe(model_config, dataset.input_shape, dataset.num_outputs)["symmetries"]
    group, rows = find_group(model, frozen), dataset.train.inputs[: config.num_rows]
    found = [
        split_null_space(model, frozen, jax.tree.map(lambda leaf, i=i: leaf[i], trained.position), rows, group)
        for i in range(config.num_networks)
    ]
    start = split_null_space(model, frozen, initial_position(model, key, frozen), rows, group)
    spectra = np.stack([one.singular_values**2 for one in found])
    row = {
        "network": network,
        "arch": arch,
        "num_parameters": found[0].num_parameters,
        "described": sum(counted[family]["remaining"] for family in CONTINUOUS),
        "loss": trained.losses[:, -1],
        **{name: [getattr(one, name) for one in found] for name in ("architectural", "hidden", "data", "rank")},
        "residual": max(one.residual for one in found),
        "above": {f"{share:.0e}": (spectra > share * spectra[:, :1]).sum(axis=1) for share in SHARES},
        "start": {name: getattr(start, name) for name in ("architectural", "hidden", "data", "rank")},
        "spectrum": np.median(spectra, axis=0)[:: max(1, spectra.shape[1] // 200)],
    }
    words = {name: f"{np.mean(row[name]):.1f}" for name in ("architectural", "hidden", "data", "rank")}
    print(f"{network:6s} {arch:11s} {row['num_parameters']:5d} parameters:", words, flush=True)
    return row


def main(config: Config) -> list[dict[str, Any]]:
    """Count all of them, and print one row each."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import ceilings, save

    from asymjax import data

    dataset, machine = data.load("digits", None, 0), ceilings()
    rows = [count(config, network, arch, dataset) for network in config.networks for arch in config.archs]
    if config.save:
        print(save("null_spaces", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
