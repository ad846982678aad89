"""Time of a training step of ResNets, over networks on a device, and over ways to convolve.

    python benchmarks/bench_convolution.py

A chunk of training as sweeps run it: ResNets of CIFAR's size, GroupNorm, ReLU, batch 64, AdamW, on random images; the
networks of one device in turn or at once; convolutions as the library has them for that device, or as XLA has them.
Rounds are interleaved over all cases; compile time is apart. Beside the time of a step its share of the rate of large
matrix products on all devices, measured in the same run, by the FLOPs of XLA's convolutions. On an accelerator:

    python benchmarks/bench_convolution.py --depths 8 20 --num-networks 1 4 16 32 --convolutions library patches
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from typing import Any
from unittest import mock

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    depths: tuple[int, ...] = (8,)
    """Layers of the ResNets, 6 n + 2."""
    num_networks: tuple[int, ...] = (1, 4)
    """Networks of the device."""
    inside: tuple[str, ...] = ("sequential", "vectorized")
    """In turn or at once."""
    convolutions: tuple[str, ...] = ("library", "xla")
    """Ways to convolve: the library's choice for the device, XLA's convolution (xla), products of patches (patches)."""
    num_steps: int = 2
    """Steps in one compiled chunk."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/convolution.json."""


def convolving(way: str) -> AbstractContextManager[Any]:
    """Build what makes all convolutions that are traced inside it go one way."""
    from jax import lax

    from asymjax.models.backbones import convolution

    def xla(x: Any, kernel: Any, strides: Any, padding: Any, **_: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=convolution.LAYOUT)

    def patches(x: Any, kernel: Any, strides: Any, padding: Any, **_: Any) -> Any:
        return convolution.multiply_patches(x, kernel, strides, padding)

    ways: dict[str, Callable[..., Any]] = {"library": convolution.convolve, "xla": xla, "patches": patches}
    return mock.patch.object(convolution, "convolve", ways[way])


def compile_case(way: str, depth: int, num_networks: int, inside: str, num_steps: int) -> dict[str, Any]:
    """Compile one case on one device."""
    from bench_train_sweep import make_case

    from asymjax.models.config import ModelConfig

    model = ModelConfig.of(backbone="resnet", depth=depth, norm="layer", activation="relu")
    with convolving(way):
        return {"convolution": way, "depth": depth} | make_case(model, (32, 32, 3), num_networks, 1, inside, num_steps)


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import interleaved, save, sgemm_peak

    machine = {"sgemm_flops_per_second": sgemm_peak()}
    flops = {depth: compile_case("xla", depth, 1, "sequential", 1)["step_flops"] for depth in config.depths}
    choices = product(config.convolutions, config.depths, config.num_networks, config.inside)
    cases = [compile_case(*choice, config.num_steps) for choice in choices]
    times = interleaved([case.pop("call") for case in cases], config.num_rounds)
    rows = []
    for case, seconds in zip(cases, times, strict=True):
        step = seconds / (config.num_steps * case["num_seeds"])
        share = flops[case["depth"]] / step / machine["sgemm_flops_per_second"]
        rows.append(case | {"step_flops": flops[case["depth"]], "seed_step_ms": 1e3 * step, "share_of_peak": share})
        name = f"resnet{case['depth']}"
        print(
            f"{case['convolution']:8s} {name:9s} {case['num_seeds']:3d} networks, {case['inside']:10s}: "
            f"{1e3 * step:8.1f} ms a network step, {share:.1%} of peak; compile {case['compile_seconds']:.1f} s",
            flush=True,
        )
    if config.save:
        print(save("convolution", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
