"""Gradients a second of HMC, over networks, chains, placements and layouts, against the floor of the same gradient.

    python benchmarks/bench_hmc.py

Two targets: the network of the default run on digits, and a 2x16 tanh regression network on diabetes. Chains take
trajectories of a fixed number of leapfrog steps, or trees of up to as many (nuts). The floor of a gradient is its
matrix FLOPs at the rate of large matrix products, plus the measured time of its norms and activations alone, plus
that of all which does not grow with the rows (a leapfrog step on one row), each with all devices at work. Rounds are
interleaved; compile time is apart.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    targets: tuple[str, ...] = ("digits", "diabetes")
    """Targets."""
    arch: str = "standard"
    """Method of the digits network."""
    sampler: Literal["hmc", "nuts"] = "hmc"
    """Trajectories of num_steps steps, or of as many as their trees take up to that."""
    num_chains: tuple[int, ...] = (1, 4, 16)
    """Chains."""
    num_steps: int = 50
    """Leapfrog steps of a trajectory; two trajectories a call."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/hmc.json."""


def make_problem(target: str, arch: str) -> Any:
    """Return the model's configuration and what the chains sample."""
    from asymjax import data
    from asymjax.inference.posterior import PosteriorConfig
    from asymjax.models.config import ModelConfig

    dataset = data.load(target)
    small = ModelConfig.of(widths=(16, 16), norm="none", activation="tanh")
    config = ModelConfig.of(arch=arch) if target == "digits" else small
    return config, PosteriorConfig().for_task(dataset.task).build(config, dataset)


def make_call(
    problem: Any,
    algorithm: Any,
    tuned: Any,
    start: Any,
    inputs: Any,
    placement: Any,
    num_draws: int,
    keep: Callable[..., dict[str, Any]] | None = None,
) -> tuple[Callable[[], Any], float]:
    """Compile a chunk of draws of all chains; return () -> (state, draws), and the seconds of compiling it."""
    import jax
    import jax.numpy as jnp

    from asymjax import rng
    from asymjax.inference.kernels import make_sampling_chunk
    from asymjax.lab import devices
    from asymjax.lab.chains import keep_outputs

    begin, advance = make_sampling_chunk(problem, algorithm, num_draws, algorithm.thinning, keep or keep_outputs)
    keys = rng.member_keys(jax.random.key(0), placement.size)
    keys, start, tuned = devices.put((keys, start, tuned), placement, is_mapped=True)
    shared = devices.put((problem.frozen, problem.data), placement, is_mapped=False)
    inputs = devices.put(inputs, placement, is_mapped=False)
    state = jax.jit(devices.map_leading(begin, placement, [True, True, True, False, False]))(
        keys, start, tuned, *shared
    )
    mapped = devices.map_leading(advance, placement, [True, True, True, False, False, False, False])
    begun = time.perf_counter()
    compiled = jax.jit(mapped).lower(keys, state, tuned, jnp.asarray(0), *shared, inputs).compile()
    compile_seconds = time.perf_counter() - begun
    return lambda: compiled(keys, state, tuned, jnp.asarray(0), *shared, inputs), compile_seconds


def make_case(
    target: str, problem: Any, num_chains: int, num_devices: int, inside: str, num_steps: int, sampler: str = "hmc"
) -> dict:
    """Compile one case and return its row with a ``call`` of two trajectories a chain."""
    import jax
    import jax.numpy as jnp

    from asymjax import rng
    from asymjax.inference.metrics import prior_metric
    from asymjax.inference.samplers import HMC, NUTS
    from asymjax.inference.starts import prior_start
    from asymjax.lab import devices

    doublings = max(1, (num_steps + 1).bit_length() - 1)
    hmc = HMC(jitter=0.0, trajectory_length=1e-3 * num_steps, max_integration_steps=num_steps)
    algorithm = hmc if sampler == "hmc" else NUTS(max_doublings=doublings)
    placement = devices.place(num_chains, num_devices, inside)  # type: ignore[arg-type]
    start = prior_start(problem, rng.member_keys(jax.random.key(0), num_chains))
    metric = prior_metric(problem.shape, problem.prior_scale)
    tuned = jax.vmap(algorithm.retune)(jnp.full(num_chains, 1e-3), jnp.tile(metric, (num_chains, 1)))
    call, compile_seconds = make_call(problem, algorithm, tuned, start, problem.data.inputs[:10], placement, 2)
    return {
        "target": target,
        "sampler": sampler,
        "num_chains": num_chains,
        "num_devices": num_devices,
        "inside": inside,
        "compile_seconds": compile_seconds,
        "num_gradients": int(call()[1]["num_grad_evals"].sum()),
        "call": call,
    }


def product_flops(problem: Any) -> int:
    """Return the FLOPs of the matrix products of one gradient."""
    from asymjax import trees

    kernels = [k for path, k in trees.flatten(problem.model.params_shape).items() if path.endswith("/kernel")]
    gates = [g for path, g in trees.flatten(problem.frozen).items() if path.endswith("/gate")]
    # Forward, and the gradients of kernel and input; the data and the gates need none.
    products = 6 * sum(k.size for k in kernels) - 2 * kernels[0].size + 4 * sum(g.size for g in gates)
    return products * len(problem.data.targets)


def elementwise_seconds(config: Any, num_rows: int) -> float:
    """Return the seconds of the gradient through norms and activations alone."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn
    from measure import seconds_each

    from asymjax.models.backbones.backbone import ACTIVATIONS

    activation = jax.nn.silu if config.arch == "sigma_asym" else ACTIVATIONS[config.backbone.activation]
    norm = nn.LayerNorm(reduction_axes=0, feature_axes=0)

    def total(xs: Any) -> Any:
        if config.backbone.norm == "layer":
            xs = [norm.apply({"params": {"scale": jnp.ones(len(x)), "bias": jnp.zeros(len(x))}}, x) for x in xs]
        return sum(jnp.sum(activation(x)) for x in xs)

    sites = [jax.random.normal(jax.random.key(i), (width, num_rows)) for i, width in enumerate(config.backbone.widths)]
    return seconds_each(jax.grad(total), sites, 20)


def one_row_seconds(target: str, problem: Any, num_steps: int) -> float:
    """Return the seconds of one leapfrog step on one row: dispatch, prior and integrator."""
    import jax
    from measure import seconds

    one_row = problem._replace(data=jax.tree.map(lambda rows: rows[:1], problem.data))
    cores = jax.device_count()
    case = make_case(target, one_row, cores, cores, "sequential", num_steps)
    return seconds(case["call"]) / case["num_gradients"]


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import ceilings, interleaved, save

    machine = ceilings()
    cases, costs = [], {}
    for target in config.targets:
        model_config, problem = make_problem(target, config.arch)
        costs[target] = {
            "product_seconds": product_flops(problem) / machine["sgemm_flops_per_second"],
            "elementwise_seconds": elementwise_seconds(model_config, len(problem.data.targets)),
            "one_row_seconds": one_row_seconds(target, problem, config.num_steps),
        }
        print(f"{target}: " + ", ".join(f"{name} {1e6 * cost:.0f} us" for name, cost in costs[target].items()))
        cases += [
            make_case(target, problem, chains, num_devices, inside, config.num_steps, config.sampler)
            for chains in config.num_chains
            for num_devices in sorted({1, devices.place(chains).num_devices})
            for inside in ("sequential", "vectorized")
        ]
    times = interleaved([case.pop("call") for case in cases], config.num_rounds)
    rows = []
    for case, time_ in zip(cases, times, strict=True):
        cost, rate = costs[case["target"]], case["num_gradients"] / time_
        shares = {"share_of_sgemm_peak": rate * cost["product_seconds"], "share_of_floor": rate * sum(cost.values())}
        rows.append(case | cost | shares | {"arch": config.arch, "gradients_per_second": rate})
        print(
            f"{case['target']:9s} {case['num_chains']:3d} chains, {case['num_devices']} devices, {case['inside']:10s}: "
            f"{rate:8.0f} gradients/s, {shares['share_of_sgemm_peak']:.2f} of the sgemm peak, "
            f"{shares['share_of_floor']:.2f} of the floor; compile {case['compile_seconds']:.1f} s",
            flush=True,
        )
    if config.save:
        print(save("hmc", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
