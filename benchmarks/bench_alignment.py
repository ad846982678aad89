"""Seconds of a weight matching between independent networks, against the obvious loop.

    python benchmarks/bench_alignment.py

The networks are 784-512-512-512-10, and ResNet20 of width 1 on 32x32x3, as they are initialised, which takes more
sweeps than networks that have much in common. The obvious loop forms all scores anew at every visit, solves every
assignment problem, and takes one pair after the other. It visits in the same random orders, so that both find the same
matching from the identity, which is checked. "starts" are pairs with all starts of the library, and not only that one.
Products run on one thread or on one a core; rounds are interleaved.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    backbones: tuple[Literal["mlp", "resnet"], ...] = ("mlp", "resnet")
    """Networks."""
    widths: tuple[int, ...] = (512, 512, 512)
    """Hidden layers of the mlp."""
    num_inputs: int = 784
    """Inputs of the mlp."""
    depth: int = 20
    """Layers of the resnet."""
    width_multiplier: float = 1.0
    """Width of the resnet."""
    num_pairs: int = 4
    """Pairs in a call."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/alignment.json."""


def obvious_matching(spec: Any, reference: dict, params: dict, seed: int = 0) -> tuple[dict, int]:
    """Match flat NumPy parameters as one would write it down, and count the assignment problems."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    places: dict[str, list[tuple[str, int]]] = {}
    for path in params:
        for axis, name in enumerate(spec[path]):
            if name is not None:
                places.setdefault(name, []).append((path, axis))
    sizes = {name: params[path].shape[axis] for name, ((path, axis), *_) in places.items()}
    permutations = {name: np.arange(size) for name, size in sizes.items()}
    generator = np.random.default_rng(seed)
    num_solved, is_better = 0, True
    while is_better:
        is_better = False
        for name in generator.permutation(list(sizes)):
            size = sizes[name]
            scores = np.zeros((size, size), np.float32)
            for path, axis in places[name]:
                permuted = params[path]
                for other, of_other in enumerate(spec[path]):
                    if other != axis and of_other is not None:
                        permuted = np.take(permuted, permutations[of_other], axis=other)
                ours, theirs = (np.moveaxis(param, axis, 0).reshape(size, -1) for param in (reference[path], permuted))
                scores += ours @ theirs.T
            found = linear_sum_assignment(scores, maximize=True)[1]
            num_solved += 1
            units = np.arange(size)
            before, after = (scores[units, p].sum(dtype=np.float64) for p in (permutations[name], found))
            is_better |= after > before + 1e-7 * abs(after)
            permutations[name] = found
    return permutations, num_solved


def inner_product(spec: Any, reference: dict, params: dict, permutations: dict) -> float:
    """Return the objective in float64."""
    import numpy as np

    from asymjax import trees
    from asymjax.symmetry import permute

    permuted = trees.flatten(trees.to_host(permute(trees.unflatten(params), spec, permutations)))
    return sum(float(np.vdot(np.float64(reference[path]), np.float64(permuted[path]))) for path in params)


def make_pairs(config: Config, backbone: str) -> tuple[Any, list[tuple[dict, dict]]]:
    """Return the permutation spec and pairs of independent networks, flat on the host."""
    import jax

    from asymjax import trees
    from asymjax.models.config import ModelConfig

    if backbone == "mlp":
        model = ModelConfig.of(widths=config.widths, norm="none").build((config.num_inputs,), 10)
    else:
        resnet = ModelConfig.of(backbone="resnet", depth=config.depth, width_multiplier=config.width_multiplier)
        model = resnet.build((32, 32, 3), 10)
    init = jax.jit(model.init)
    networks = [trees.flatten(trees.to_host(init(jax.random.key(seed), {}))) for seed in range(2 * config.num_pairs)]
    return model.permutation_spec, list(zip(networks[::2], networks[1::2], strict=True))


def time_backbone(config: Config, backbone: str) -> list[dict[str, Any]]:
    """Time all ways for one kind of networks, check that they agree, and print one row each."""
    from measure import interleaved
    from threadpoolctl import threadpool_limits

    from asymjax import trees
    from asymjax.symmetry import match_pairs, weight_matching

    spec, pairs = make_pairs(config, backbone)
    nested = [(trees.unflatten(one), trees.unflatten(other)) for one, other in pairs]
    ways: dict[str, Callable[[], list[Any]]] = {
        "obvious": lambda: [obvious_matching(spec, one, other) for one, other in pairs],
        "alone": lambda: [weight_matching(spec, one, other, num_starts=1) for one, other in nested],
        "pairs": lambda: match_pairs(spec, nested, num_starts=1),
        "starts": lambda: match_pairs(spec, nested),
    }
    cores = os.cpu_count() or 1
    cases = [(way, threads) for way in ("obvious", "alone") for threads in sorted({1, cores})]
    cases += [("pairs", 1), ("starts", 1)]

    def make_call(way: str, threads: int) -> Any:
        def call() -> Any:
            with threadpool_limits(threads, user_api="blas"):
                ways[way]()

        return call

    times = interleaved([make_call(*case) for case in cases], config.num_rounds)
    found = [
        (inner_product(spec, one, other, theirs[0]), inner_product(spec, one, other, ours.permutations))
        for (one, other), theirs, ours in zip(pairs, ways["obvious"](), ways["pairs"](), strict=True)
    ]
    if any(abs(theirs - ours) > 1e-6 * theirs for theirs, ours in found):
        raise RuntimeError(f"the obvious loop and the library find other objectives: {found}")
    least = min(time for (way, _), time in zip(cases, times, strict=True) if way == "obvious")
    settings = {"backbone": backbone, "num_pairs": config.num_pairs, "objectives": [ours for _, ours in found]}
    rows = []
    for (way, threads), time in zip(cases, times, strict=True):
        row = {"way": way, "blas_threads": threads, "seconds_a_pair": time / config.num_pairs, "speedup": least / time}
        rows.append(row | settings)
        print(
            f"{backbone:6s} {way:8s} {threads:2d} BLAS threads: {row['seconds_a_pair']:.3f} s a pair, "
            f"{row['speedup']:.2f} times the best obvious loop",
            flush=True,
        )
    return rows


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import ceilings, save

    machine = ceilings()
    rows = [row for backbone in config.backbones for row in time_backbone(config, backbone)]
    if config.save:
        print(save("alignment", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
