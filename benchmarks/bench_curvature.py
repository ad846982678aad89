"""Seconds of a probe of the Hessian, against those of a gradient of the same loss on the same rows.

    python benchmarks/bench_curvature.py

"diagonal" is a probe for diagonal and trace, "largest" a step towards the largest eigenvalue, "gradient" ``jax.grad``
of the same loss. All repeat in one compiled loop, on one network, and rounds are interleaved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    backbones: tuple[str, ...] = ("mlp", "cnn", "resnet")
    """Networks."""
    num_rows: int = 64
    """Rows of a product."""
    num_probes: int = 10
    """Probes, steps or gradients of a call."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/curvature.json."""


SETTINGS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "mlp": ((784,), {"widths": (512, 512), "norm": "none"}),
    "cnn": ((28, 28, 1), {"backbone": "cnn"}),
    "resnet": ((32, 32, 3), {"backbone": "resnet", "depth": 8}),
}


def probe_costs(model: Any, task: str, frozen: Any, rows: Any, num_probes: int, num_rounds: int) -> dict[str, float]:
    """Return the seconds of a gradient, of a probe for the diagonal, and of a step to the largest eigenvalue.

    Parameters
    ----------
    model, frozen : the network, and its constants.
    task : ``"classification"`` or ``"regression"``.
    rows : as of ``asymjax.symmetry.connectivity.in_batches``.
    num_probes : gradients, probes and steps of one compiled call.
    num_rounds : interleaved rounds.
    """
    import jax
    from jax import lax
    from measure import interleaved

    from asymjax.diagnostics import curvature

    loss = curvature.mean_loss(model, task, frozen, rows)
    position = model.init(jax.random.key(0), frozen)

    def gradients(position: Any, key: Any) -> Any:
        def descend(position: Any, _: None) -> tuple[Any, None]:
            # Each gradient is at another place, so that none is shared.
            return jax.tree.map(lambda leaf, slope: leaf - 1e-3 * slope, position, jax.grad(loss)(position)), None

        return lax.scan(descend, position, None, length=num_probes)[0]

    def diagonal(position: Any, key: Any) -> Any:
        return curvature.hessian_diagonal(loss, position, key, num_probes=num_probes)

    def largest(position: Any, key: Any) -> Any:
        return curvature.largest_eigenvalue(loss, position, key, num_steps=num_probes)

    ways: dict[str, Callable[..., Any]] = {"gradient": gradients, "diagonal": diagonal, "largest": largest}
    calls = [partial(jax.jit(way), position, jax.random.key(1)) for way in ways.values()]
    times = [seconds / num_probes for seconds in interleaved(calls, num_rounds)]
    return dict(zip(ways, times, strict=True))


def time_backbone(config: Config, backbone: str) -> dict[str, Any]:
    """Time one kind of networks on random rows, and print its row."""
    import jax
    import numpy as np

    from asymjax import trees
    from asymjax.models.config import ModelConfig
    from asymjax.symmetry.connectivity import in_batches
    from asymjax.types import Split

    shape, settings = SETTINGS[backbone]
    model = ModelConfig.of(**settings).build(shape, 10)
    frozen, generator = model.freeze(jax.random.key(0)), np.random.default_rng(0)
    inputs = generator.normal(size=(config.num_rows, *shape)).astype("float32")
    rows = in_batches(Split(inputs, generator.integers(0, 10, config.num_rows)))
    times = probe_costs(model, "classification", frozen, rows, config.num_probes, config.num_rounds)
    num_entries = trees.num_entries(model.params_shape)
    ratios = {f"{name}_in_gradients": times[name] / times["gradient"] for name in ("diagonal", "largest")}
    row = {"backbone": backbone, "num_entries": num_entries, "num_rows": config.num_rows, **times, **ratios}
    print(
        f"{backbone:6s} {num_entries:9,d} entries: gradient {1000 * times['gradient']:.2f} ms; "
        + ", ".join(f"{name.replace('_', ' ')} {ratio:.2f}" for name, ratio in ratios.items()),
        flush=True,
    )
    return row


def main(config: Config) -> list[dict[str, Any]]:
    """Time all networks and print one row each."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import ceilings, save

    machine = ceilings()
    rows = [time_backbone(config, backbone) for backbone in config.backbones]
    if config.save:
        print(save("curvature", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
