"""Gradients a second of HMC, over networks, chains, placements and layouts, against the floor of the same gradient.

    python benchmarks/bench_hmc.py

Two targets: the network of the default run on digits, and a 2x16 tanh regression network on diabetes. Chains take
trajectories of a fixed number of leapfrog steps. The floor of a gradient is its matrix FLOPs at the rate of a large
matrix product, plus the measured time of its activations alone (elementwise functions, forward and backward), both
spread over all cores. Rounds are interleaved; compile time is apart.
"""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    targets: tuple[str, ...] = ("digits", "diabetes")
    """Targets."""
    arch: str = "standard"
    """Method of the digits network."""
    num_chains: tuple[int, ...] = (1, 4, 16)
    """Chains."""
    num_steps: int = 50
    """Leapfrog steps of a trajectory; two trajectories a call."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/hmc.json."""


def make_problem(target: str, arch: str) -> Any:
    """Return what the chains sample."""
    import jax

    from asymjax import data, rng
    from asymjax.config import ModelConfig, PosteriorConfig
    from asymjax.inference.posterior import num_network_outputs
    from asymjax.inference.problem import make_problem
    from asymjax.models import build_model

    dataset = data.load(target)
    posterior = PosteriorConfig().for_task(dataset.task)
    small = ModelConfig(widths=(16, 16), norm="none", activation="tanh")
    config = ModelConfig(arch=arch) if target == "digits" else small
    num_outputs = num_network_outputs(dataset.task, dataset.num_outputs, posterior.noise)
    model = build_model(config, dataset.input_shape, num_outputs, posterior)
    frozen = jax.jit(model.freeze)(rng.role_key(0, "mask"))
    return make_problem(model, dataset.task, posterior, frozen, dataset.train)


def make_case(target: str, problem: Any, num_chains: int, num_devices: int, inside: str, num_steps: int) -> dict:
    """Compile one case and return its row with a ``call`` of two trajectories a chain."""
    import jax
    import jax.numpy as jnp

    from asymjax import parallel, rng
    from asymjax.config import HMCConfig
    from asymjax.inference.sample import make_sampling_chunk, prior_metric
    from asymjax.inference.samplers.hmc import Tuned
    from asymjax.inference.start import prior_start

    config = HMCConfig(jitter=0.0, max_integration_steps=num_steps)
    begin, advance = make_sampling_chunk(problem, config, 2, keep_position=False)
    placement = parallel.place(num_chains, num_devices, inside)  # type: ignore[arg-type]
    keys = rng.member_keys(jax.random.key(0), num_chains)
    metric = prior_metric(problem)
    tuned = Tuned(jnp.full(num_chains, 1e-3), jnp.tile(metric, (num_chains, 1)), jnp.full(num_chains, 1e-3 * num_steps))
    keys, start, tuned = parallel.put((keys, prior_start(problem, keys), tuned), placement, is_mapped=True)
    shared = parallel.put((problem.frozen, problem.data), placement, is_mapped=False)
    inputs = parallel.put(problem.data.inputs[:10], placement, is_mapped=False)
    state = jax.jit(parallel.map_leading(begin, placement, [True, True, False, False]))(start, tuned, *shared)
    mapped = parallel.map_leading(advance, placement, [True, True, True, False, False, False, False])
    begun = time.perf_counter()
    compiled = jax.jit(mapped).lower(keys, state, tuned, jnp.asarray(0), *shared, inputs).compile()
    compile_seconds = time.perf_counter() - begun

    def call() -> Any:
        return compiled(keys, state, tuned, jnp.asarray(0), *shared, inputs)

    num_gradients = int(call()[1].num_grad_evals.sum())
    return {
        "target": target,
        "num_chains": num_chains,
        "num_devices": num_devices,
        "inside": inside,
        "compile_seconds": compile_seconds,
        "num_gradients": num_gradients,
        "call": call,
    }


def gradient_cost(problem: Any) -> dict[str, float]:
    """Return FLOPs of a gradient's matrix products and seconds of its activations alone, one chain on one device."""
    import jax
    import jax.numpy as jnp
    from measure import seconds

    from asymjax import trees

    num_rows = len(problem.data.targets)
    kernels = [k for path, k in trees.flatten(problem.model.params_shape).items() if path.endswith("/kernel")]
    products = sum(6 * num_rows * k.shape[0] * k.shape[1] for k in kernels)
    gates = [g for path, g in trees.flatten(problem.frozen).items() if path.endswith("/gate")]
    products += sum(4 * num_rows * g.shape[0] * g.shape[1] for g in gates)
    products -= 2 * num_rows * kernels[0].shape[0] * kernels[0].shape[1]  # The inputs need no gradient.
    widths = [k.shape[1] for k in kernels[:-1]]
    activation = jnp.tanh if len(widths) and widths[0] == 16 else jax.nn.gelu
    sites = [jnp.ones((width, num_rows)) for width in widths]
    elementwise = jax.jit(jax.grad(lambda xs: sum(jnp.sum(activation(x)) for x in xs)))
    return {"product_flops": float(products), "activation_seconds": seconds(lambda: elementwise(sites), 20)}


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from asymjax import parallel

    parallel.configure_host_devices()
    import jax
    from measure import save, sgemm_peak

    cores = jax.device_count()
    ceilings = {"sgemm_flops_per_second": sgemm_peak()}
    problems = {target: make_problem(target, config.arch) for target in config.targets}
    costs = {target: gradient_cost(problem) for target, problem in problems.items()}
    cases = [
        make_case(target, problem, chains, devices, inside, config.num_steps)
        for target, problem in problems.items()
        for chains in config.num_chains
        for devices in sorted({1, max(n for n in range(1, cores + 1) if chains % n == 0)})
        for inside in ("sequential", "vectorized")
    ]
    times: list[list[float]] = [[] for _ in cases]
    for _ in range(config.num_rounds):
        for case, samples in zip(cases, times, strict=True):
            begun = time.perf_counter()
            jax.block_until_ready(case["call"]())
            samples.append(time.perf_counter() - begun)
    rows = []
    for case, samples in zip(cases, times, strict=True):
        row = {name: value for name, value in case.items() if name != "call"} | costs[case["target"]]
        rate = row["num_gradients"] / statistics.median(samples)
        floor = row["product_flops"] / ceilings["sgemm_flops_per_second"] + row["activation_seconds"] / cores
        row |= {
            "gradients_per_second": rate,
            "share_of_sgemm_peak": rate * row["product_flops"] / ceilings["sgemm_flops_per_second"],
            "share_of_floor": rate * floor,
        }
        rows.append(row)
        print(
            f"{row['target']:9s} {row['num_chains']:3d} chains, {row['num_devices']} devices, {row['inside']:10s}: "
            f"{rate:8.0f} gradients/s, {row['share_of_sgemm_peak']:.2f} of the sgemm peak, "
            f"{row['share_of_floor']:.2f} of the floor; compile {row['compile_seconds']:.1f} s",
            flush=True,
        )
    if config.save:
        print(save("hmc", rows, ceilings))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
