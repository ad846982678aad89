"""Time of one optimizer step of one network in a sweep, over methods, seeds and placements.

    python benchmarks/bench_train_sweep.py

The network is the MNIST MLP of Lim et al. (2024): 784-512-512-512-10, LayerNorm, GELU, batch 64, AdamW, on random
images. Rounds are interleaved over all cases, so that drift of the machine falls on all alike; compile time is apart.
The floor of a step is its FLOPs at the rate of a large matrix product, plus the traffic of AdamW (seven passes over
the parameters) at the rate of a copy.
"""

import statistics
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    archs: tuple[str, ...] = ("standard", "w_asym", "sigma_asym")
    """Methods."""
    num_seeds: tuple[int, ...] = (1, 8, 32)
    """Sweep sizes."""
    num_steps: int = 60
    """Steps in one compiled chunk."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/train_sweep.json."""


def make_case(arch: str, num_seeds: int, num_devices: int, inside: str, num_steps: int) -> dict[str, Any]:
    """Compile one case and return its row with a ``call`` that advances it by a chunk."""
    import jax
    import jax.numpy as jnp

    from asymjax import parallel, rng, trees
    from asymjax.config import MODEL_PRESETS, OptimizerConfig
    from asymjax.models import build_model
    from asymjax.train import make_optimizer, make_train
    from asymjax.train.losses import cross_entropy
    from asymjax.types import Split

    model = build_model(replace(MODEL_PRESETS["paper_mlp_mnist"], arch=arch), (784,), 10)
    frozen = jax.jit(model.freeze)(rng.role_key(0, "mask"))
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.03), num_steps)
    trainer = make_train(model, cross_entropy, optimizer, 1, 64, in_effective_weights=True)
    rows = 64 * num_steps
    images = jax.random.normal(jax.random.key(0), (rows, 784))
    data = Split(images, jax.random.randint(jax.random.key(1), (rows,), 0, 10))
    placement = parallel.place(num_seeds, num_devices, inside)  # type: ignore[arg-type]
    keys = parallel.put(rng.member_keys(jax.random.key(2), num_seeds), placement, is_mapped=True)
    shared = parallel.put((frozen, data), placement, is_mapped=False)
    state = jax.jit(parallel.map_leading(trainer.init, placement, [True, False]))(keys, shared[0])
    advance = parallel.map_leading(
        partial(lambda key, state, frozen, data: trainer.advance(key, state, frozen, data, 1)),
        placement,
        [True, True, False, False],
    )
    start = time.perf_counter()
    compiled = jax.jit(advance, donate_argnums=1).lower(keys, state, *shared).compile()
    held = {"state": state}

    def call() -> Any:
        held["state"], losses = compiled(keys, held["state"], *shared)
        return losses

    call()
    return {
        "arch": arch,
        "num_seeds": num_seeds,
        "num_devices": num_devices,
        "inside": inside,
        "compile_seconds": time.perf_counter() - start,
        "num_parameters": trees.num_entries(model.params_shape),
        "call": call,
        "step_flops": step_flops(model, frozen, jnp.zeros((64, 784))),
    }


def step_flops(model: Any, frozen: Any, images: Any) -> float:
    """Return XLA's FLOPs of one forward and backward pass."""
    import jax
    import jax.numpy as jnp
    from measure import flops

    from asymjax.train.losses import cross_entropy
    from asymjax.types import Split

    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), model.params_shape)
    batch = Split(images, jnp.zeros(len(images), jnp.int32))
    return flops(jax.grad(lambda params: cross_entropy(model.forward, params, frozen, batch)), params)


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax import parallel

    parallel.configure_host_devices()
    import jax
    from measure import copy_bandwidth, save, sgemm_peak

    ceilings = {"sgemm_flops_per_second": sgemm_peak(), "copy_bytes_per_second": copy_bandwidth()}
    cores = jax.device_count()
    cases = [
        make_case(arch, seeds, devices, inside, config.num_steps)
        for seeds in config.num_seeds
        for devices in sorted({1, max(n for n in range(1, cores + 1) if seeds % n == 0)})
        for inside in ("sequential", "vectorized")
        for arch in config.archs
    ]
    times: list[list[float]] = [[] for _ in cases]
    for _ in range(config.num_rounds):
        for case, samples in zip(cases, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(case["call"]())
            samples.append((time.perf_counter() - start) / (config.num_steps * case["num_seeds"]))
    rows = []
    for case, samples in zip(cases, times, strict=True):
        row = {name: value for name, value in case.items() if name != "call"}
        traffic = 7 * 4 * row["num_parameters"]
        floor = row["step_flops"] / ceilings["sgemm_flops_per_second"] + traffic / ceilings["copy_bytes_per_second"]
        row |= {"seed_step_ms": 1e3 * statistics.median(samples), "floor_ms": 1e3 * floor}
        rows.append(row | {"ratio_to_floor": row["seed_step_ms"] / row["floor_ms"]})
        print(
            f"{row['arch']:11s} {row['num_seeds']:3d} seeds, {row['num_devices']} devices, {row['inside']:10s}: "
            f"{row['seed_step_ms']:6.2f} ms a seed step, floor {row['floor_ms']:5.2f}, "
            f"ratio {rows[-1]['ratio_to_floor']:.2f}; compile {row['compile_seconds']:.1f} s",
            flush=True,
        )
    if config.save:
        print(save("train_sweep", rows, ceilings))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
