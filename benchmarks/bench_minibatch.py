"""Time of a step of every sampler on minibatches against one of SGD, on a ResNet of CIFAR's size.

    python benchmarks/bench_minibatch.py

GroupNorm, ReLU, batch 64, random images; one device, which has networks and chains at once, or on CPU in turn. A
sampler draws its rows, takes one gradient of them and its own noise; SGD has momentum. A chunk ends with one draw, so
with the log density of 64 rows. Rounds are interleaved over all cases; compile time is apart.
"""

from dataclasses import dataclass
from typing import Any

import tyro

BATCH = 64


@dataclass(frozen=True)
class Config:
    """What is timed."""

    depth: int = 8
    """Layers of the ResNet, 6 n + 2."""
    samplers: tuple[str, ...] = ("sgld", "sghmc", "sgnht", "psgld", "psmile")
    """Samplers."""
    num_chains: tuple[int, ...] = (1,)
    """Chains, and networks that SGD trains."""
    num_steps: int = 5
    """Steps in one compiled chunk."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/minibatch.json."""


def make_chains(model: Any, sampler: str, num_chains: int, num_steps: int) -> dict[str, Any]:
    """Compile the chains of one sampler, and return their row with a ``call`` of ``num_steps`` steps of each."""
    import jax
    import jax.numpy as jnp
    from bench_hmc import make_call

    from asymjax import make_posterior, rng, trees
    from asymjax.inference.samplers import SAMPLERS
    from asymjax.inference.samplers.minibatch import Tuned
    from asymjax.inference.starts import prior_start
    from asymjax.lab import devices
    from asymjax.types import Split

    images = jax.random.normal(jax.random.key(0), (BATCH, 32, 32, 3))
    problem = make_posterior(model, Split(images, jax.random.randint(jax.random.key(1), (BATCH,), 0, 10)))
    placement = devices.place(num_chains, 1)
    start = prior_start(problem, rng.member_keys(jax.random.key(0), num_chains))
    algorithm = SAMPLERS[sampler](thinning=num_steps)
    # What a warmup would hand on; its values do not matter to the time.
    scale = jnp.ones((num_chains, trees.num_entries(problem.shape))) if sampler == "psmile" else None
    tuned = Tuned(jnp.full(num_chains, 1e-6), scale=scale)
    call, compile_seconds = make_call(problem, algorithm, tuned, start, images[:1], placement, 1)
    return {"step_of": sampler, "num_chains": num_chains, "compile_seconds": compile_seconds, "call": call}


def make_networks(config: Any, num_networks: int, num_steps: int) -> dict[str, Any]:
    """Do the same for networks that SGD trains."""
    from bench_train_sweep import make_case

    case = make_case(config, (32, 32, 3), num_networks, 1, "auto", num_steps, optimizer="sgd")
    return {"step_of": "sgd", "num_chains": num_networks} | {name: case[name] for name in ("compile_seconds", "call")}


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax.lab import devices
    from asymjax.models.config import ModelConfig

    devices.configure_host_devices()
    from measure import interleaved, save

    settings = ModelConfig.of(backbone="resnet", depth=config.depth, norm="layer", activation="relu")
    model = settings.build((32, 32, 3), 10)
    cases = []
    for num_chains in config.num_chains:
        cases.append(make_networks(settings, num_chains, config.num_steps))
        cases += [make_chains(model, sampler, num_chains, config.num_steps) for sampler in config.samplers]
    times = interleaved([case.pop("call") for case in cases], config.num_rounds)
    sgd = {case["num_chains"]: seconds for case, seconds in zip(cases, times, strict=True) if case["step_of"] == "sgd"}
    rows = []
    for case, seconds in zip(cases, times, strict=True):
        step, ratio = seconds / (config.num_steps * case["num_chains"]), seconds / sgd[case["num_chains"]]
        rows.append(case | {"depth": config.depth, "step_ms": 1e3 * step, "times_sgd": ratio})
        print(
            f"{case['step_of']:7s} {case['num_chains']:3d} chains: {1e3 * step:8.2f} ms a step and chain, "
            f"{ratio:.2f} of SGD; compile {case['compile_seconds']:.1f} s",
            flush=True,
        )
    if config.save:
        print(save("minibatch", rows, {}))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
