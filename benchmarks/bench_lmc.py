"""Seconds to measure all points on the paths of all pairs, against the obvious loop and the floor of its products.

    python benchmarks/bench_lmc.py

Two targets: the MNIST MLP of Lim et al. (2024) on 10,000 random images, and the 64-32-32-10 network of the default run
on 360. The obvious loop takes one pair and one point at a time, averages the networks leaf by leaf, passes the rows
through a compiled network in batches of 1,000 and scores the outputs on the host. The compiled loop does all of that in
one call a point, and like the library fits a temperature. Beside the library's way (points one after the other, rows in
batches) all points of a pair mapped at once. The floor is the FLOPs of the matrix products at the rate of large matrix
products, with all devices at work; with it the measured time of norms and activations alone. Rounds are interleaved;
compile time is apart.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    targets: tuple[str, ...] = ("mnist", "digits")
    """Targets."""
    archs: tuple[str, ...] = ("standard", "sigma_asym")
    """Methods."""
    num_pairs: int = 4
    """Pairs; twice as many networks."""
    num_points: int = 25
    """Points on each path."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/lmc.json."""


def make_problem(target: str, arch: str, num_pairs: int) -> dict[str, Any]:
    """Return model, constants, networks at both ends of the paths [pair, ...], and rows."""
    import jax

    from asymjax import rng
    from asymjax.models.config import Models
    from asymjax.models.presets import MODEL_PRESETS
    from asymjax.types import Split

    preset, num_inputs, num_rows = {
        "mnist": (MODEL_PRESETS["paper_mlp_mnist"], 784, 10_000),
        "digits": (Models(), 64, 360),
    }[target]
    config = preset.of(arch)
    model = config.build((num_inputs,), 10)
    frozen = jax.jit(model.freeze)(rng.role_key(0, "mask"))

    def make_networks(seed: int) -> Any:
        keys = rng.member_keys(jax.random.key(seed), num_pairs)
        return jax.jit(jax.vmap(lambda key: model.merge(model.init(key, frozen), frozen)))(keys)

    inputs = jax.random.normal(jax.random.key(2), (num_rows, num_inputs))
    split = Split(inputs, jax.random.randint(jax.random.key(3), (num_rows,), 0, 10))
    ends = make_networks(0), make_networks(1)
    return {"config": config, "model": model, "frozen": frozen, "ends": ends, "split": split}


def make_calls(problem: dict[str, Any], num_points: int) -> dict[str, tuple[Callable[[], Any], float, int]]:
    """Compile the ways of measuring; each a call, its seconds of compiling and its bytes of temporary memory."""
    import jax
    import numpy as np
    from scipy.special import logsumexp

    from asymjax.symmetry.connectivity import grid, in_batches, interpolate, make_measure, make_path

    model, frozen, ends, split = (problem[name] for name in ("model", "frozen", "ends", "split"))
    measure, points = make_measure(model, "classification"), grid(num_points)
    rows = {"test": in_batches(split)}

    def at_once(start: Any, end: Any, frozen: Any, rows: Any) -> Any:
        def at(t: Any) -> Any:
            return measure(interpolate(start, end, t), frozen, rows)

        return jax.vmap(at)(points)

    whole = {"test": in_batches(split)._replace(inputs=split.inputs[None])}
    pairs = [jax.tree.map(lambda leaf, i=index: leaf[i], ends) for index in range(len(jax.tree.leaves(ends)[0]))]
    begun = time.perf_counter()
    one = (
        jax.jit(lambda ends, t, frozen, rows: measure(interpolate(ends[0], ends[1], t), frozen, rows))
        .lower(pairs[0], points[0], frozen, whole)
        .compile()
    )
    seconds, memory = time.perf_counter() - begun, _temporary_bytes(one)

    def compiled_loop() -> Any:
        return [jax.device_get(one(pair, t, frozen, whole)) for pair in pairs for t in points]

    forward, labels = jax.jit(model.forward), np.asarray(split.targets)
    batches = np.array_split(np.asarray(split.inputs), -(-len(labels) // 1000))

    def score(start: Any, end: Any, t: float) -> tuple[float, float]:
        params = jax.tree.map(lambda a, b: (1 - t) * a + t * b, start, end)
        logits = np.concatenate([np.asarray(forward(params, frozen, batch)) for batch in batches])
        loss = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
        return loss.mean(), (logits.argmax(axis=1) == labels).mean()

    def loop() -> Any:
        return [score(start, end, t) for start, end in pairs for t in points]

    return {
        "points in turn": _all_pairs(make_path(measure, points), ends, frozen, rows),
        "points at once": _all_pairs(at_once, ends, frozen, rows),
        "compiled loop": (compiled_loop, seconds, memory),
        "loop": (loop, 0.0, 0),
    }


def _all_pairs(path: Any, ends: Any, frozen: Any, rows: Any) -> tuple[Callable[[], Any], float, int]:
    """Compile one program for all pairs over all devices."""
    import jax

    from asymjax.lab import devices

    placement = devices.place(len(jax.tree.leaves(ends)[0]))
    ends = devices.put(ends, placement, is_mapped=True)
    shared = devices.put((frozen, rows), placement, is_mapped=False)
    begun = time.perf_counter()
    mapped = jax.jit(devices.map_leading(path, placement, [True, True, False, False]))
    compiled = mapped.lower(*ends, *shared).compile()
    seconds, memory = time.perf_counter() - begun, _temporary_bytes(compiled)
    return (lambda: jax.device_get(compiled(*ends, *shared))), seconds, memory


def _temporary_bytes(compiled: Any) -> int:
    return compiled.memory_analysis().temp_size_in_bytes


def product_flops(problem: dict[str, Any]) -> int:
    """Return the FLOPs of the matrix products of one network on all rows."""
    from asymjax import trees

    kernels = [k for path, k in trees.flatten(problem["model"].params_shape).items() if path.endswith("/kernel")]
    gates = [g for path, g in trees.flatten(problem["frozen"]).items() if path.endswith("/gate")]
    return 2 * sum(matrix.size for matrix in kernels + gates) * len(problem["split"].targets)


def elementwise_seconds(problem: dict[str, Any]) -> float:
    """Return the seconds of norms and activations alone, of one network on all rows in batches as the library's."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn
    from measure import seconds_each

    from asymjax.models.backbones.backbone import ACTIVATIONS
    from asymjax.models.backbones.mlp import UNIT_FIRST_WIDTH
    from asymjax.symmetry.connectivity import in_batches

    config = problem["config"]
    activation = jax.nn.silu if config.arch == "sigma_asym" else ACTIVATIONS[config.backbone.activation]
    num_batches, size = in_batches(problem["split"]).inputs.shape[:2]
    axis = 0 if max(config.backbone.widths) <= UNIT_FIRST_WIDTH else 1
    norm = nn.LayerNorm(reduction_axes=axis, feature_axes=axis)

    def through(xs: Any) -> Any:
        ones = [jnp.ones(x.shape[axis]) for x in xs]
        return [
            activation(norm.apply({"params": {"scale": one, "bias": one}}, x))  # type: ignore[arg-type]
            for one, x in zip(ones, xs, strict=True)
        ]

    shapes = [(width, size) if axis == 0 else (size, width) for width in config.backbone.widths]
    xs = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
    return num_batches * seconds_each(through, xs, 20)


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import ceilings, interleaved, save

    machine = ceilings()
    problems = {
        (target, arch): make_problem(target, arch, config.num_pairs)
        for target in config.targets
        for arch in config.archs
    }
    ways = {case: make_calls(problem, config.num_points) for case, problem in problems.items()}
    calls = [call for way in ways.values() for call, _, _ in way.values()]
    times = iter(interleaved(calls, config.num_rounds))
    count = config.num_pairs * config.num_points
    rows = []
    for (target, arch), way in ways.items():
        problem = problems[target, arch]
        products = count * product_flops(problem) / machine["sgemm_flops_per_second"]
        floor = products + count * elementwise_seconds(problem)
        found = {name: next(times) for name in way}
        for name, seconds in found.items():
            row = {
                "target": target,
                "arch": arch,
                "way": name,
                "num_pairs": config.num_pairs,
                "num_points": config.num_points,
            }
            row |= {"seconds": seconds, "product_seconds": products, "floor_seconds": floor}
            row |= {"compile_seconds": way[name][1], "temporary_bytes": way[name][2]}
            rows.append(row)
            print(
                f"{target:7s} {arch:11s} {name:15s}: {1e3 * seconds / count:8.3f} ms a network, "
                f"{found['loop'] / seconds:5.2f} times the loop's speed, {seconds / products:5.2f} times the products, "
                f"{seconds / floor:5.2f} times the floor; {way[name][2] / 1e6:.0f} MB; compile {way[name][1]:.1f} s",
                flush=True,
            )
    if config.save:
        print(save("lmc", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
