"""Time of one optimizer step of one network in a sweep, over methods, seeds and placements.

    python benchmarks/bench_train_sweep.py

The network is the MNIST MLP of Lim et al. (2024): 784-512-512-512-10, LayerNorm, GELU, batch 64, AdamW, on random
images. Rounds are interleaved over all cases; compile time is apart. The floor of a step is its FLOPs at the rate of
large matrix products, plus the traffic of AdamW (seven passes over the parameters) at the rate of a copy, both measured
on all devices at once. Beside it the same step written by hand (``by_hand.py``), over the largest number of seeds.
"""

import time
from dataclasses import dataclass
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


def make_case(
    config: Any,
    input_shape: tuple[int, ...],
    num_seeds: int,
    num_devices: int,
    inside: str,
    num_steps: int,
    **optimizer_settings: Any,
) -> dict[str, Any]:
    """Compile one case and return its row with a ``call`` that advances it by a chunk.

    Parameters
    ----------
    config : ModelConfig of the networks, which have 10 classes.
    optimizer_settings : those of ``OptimizerConfig``. Default: AdamW with a weight decay.
    """
    import jax
    import jax.numpy as jnp

    from asymjax import rng, trees
    from asymjax.lab import devices
    from asymjax.train import make_optimizer, make_train
    from asymjax.train.losses import cross_entropy
    from asymjax.train.optimizers import OptimizerConfig
    from asymjax.types import Split

    model = config.build(input_shape, 10)
    frozen = jax.jit(model.freeze)(rng.role_key(0, "mask"))
    optimizer = make_optimizer(OptimizerConfig(**optimizer_settings or {"weight_decay": 0.03}), num_steps)
    trainer = make_train(model, cross_entropy, optimizer, 1, 64, in_effective_weights=True)
    rows = 64 * num_steps
    images = jax.random.normal(jax.random.key(0), (rows, *input_shape))
    data = Split(images, jax.random.randint(jax.random.key(1), (rows,), 0, 10))
    placement = devices.place(num_seeds, num_devices, inside)  # type: ignore[arg-type]
    keys = devices.put(rng.member_keys(jax.random.key(2), num_seeds), placement, is_mapped=True)
    shared = devices.put((frozen, data), placement, is_mapped=False)
    state = jax.jit(devices.map_leading(trainer.init, placement, [True, False]))(keys, shared[0])
    advance = devices.map_leading(
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
        "arch": config.arch,
        "num_seeds": num_seeds,
        "num_devices": num_devices,
        "inside": inside,
        "compile_seconds": time.perf_counter() - start,
        "num_parameters": trees.num_entries(model.params_shape),
        "call": call,
        "step_flops": step_flops(model, frozen, jnp.zeros((64, *input_shape))),
    }


def step_flops(model: Any, frozen: Any, images: Any) -> float:
    """Return XLA's FLOPs of one forward and backward pass."""
    import jax
    import jax.numpy as jnp

    from asymjax.train.losses import cross_entropy
    from asymjax.types import Split

    batch = Split(images, jnp.zeros(len(images), jnp.int32))
    grad = jax.jit(jax.grad(lambda params: cross_entropy(model.forward, params, frozen, batch)))
    return float(grad.lower(model.params_shape).compile().cost_analysis()["flops"])  # type: ignore[index]


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax.lab import devices
    from asymjax.models.presets import MODEL_PRESETS

    devices.configure_host_devices()
    import by_hand
    from measure import ceilings, interleaved, save

    machine = ceilings()
    mlp = MODEL_PRESETS["paper_mlp_mnist"]
    cases = [
        make_case(mlp.of(arch), (784,), seeds, num_devices, inside, config.num_steps)
        for seeds in config.num_seeds
        for num_devices in sorted({1, devices.place(seeds).num_devices})
        for inside in ("sequential", "vectorized")
        for arch in config.archs
    ]
    most = max(config.num_seeds)
    hand = {
        arch: by_hand.make_call(arch, most, devices.place(most).num_devices, config.num_steps) for arch in config.archs
    }
    calls = [case.pop("call") for case in cases] + list(hand.values())
    sizes = [case["num_seeds"] for case in cases] + [most] * len(hand)
    times = interleaved(calls, config.num_rounds)
    steps = [1e3 * time / (config.num_steps * size) for time, size in zip(times, sizes, strict=True)]
    hand_steps = dict(zip(hand, steps[len(cases) :], strict=True))
    rows = []
    for case, step in zip(cases, steps, strict=False):
        traffic = 7 * 4 * case["num_parameters"]
        floor = case["step_flops"] / machine["sgemm_flops_per_second"] + traffic / machine["copy_bytes_per_second"]
        rows.append(case | {"seed_step_ms": step, "floor_ms": 1e3 * floor, "by_hand_ms": hand_steps[case["arch"]]})
        print(
            f"{case['arch']:11s} {case['num_seeds']:3d} seeds, {case['num_devices']} devices, {case['inside']:10s}: "
            f"{step:6.2f} ms a seed step, {step / (1e3 * floor):.2f} times the floor, "
            f"{step / hand_steps[case['arch']]:.2f} times by hand; compile {case['compile_seconds']:.1f} s",
            flush=True,
        )
    print(f"by hand, {most} seeds: " + ", ".join(f"{arch} {step:.2f} ms" for arch, step in hand_steps.items()))
    if config.save:
        print(save("train_sweep", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
