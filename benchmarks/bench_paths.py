"""Seconds and memory of steps along invariant paths: exact, by conjugate gradients, by a dense solve, by a penalty.

    python benchmarks/bench_paths.py

"step" times one step of each way at networks of more and more parameters; "dense" forms and solves the metric of all
parameters with itself, as long as there is room. "replay" times a step and asks the compiler for its memory as replay
inputs grow. "equal drift" walks exactly, without and with retraction, and by penalties of several weights, with as many
steps and with more and shorter ones over the same length; of the weights that move outputs no further than exact steps
the one counts with which the objective falls furthest. "bundle" walks several paths side by side, one after the other
in one program, and by a call each. Rounds are interleaved.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    widths: tuple[int, ...] = (11, 70, 280, 960)
    """Units of both hidden layers; those of the default make 1e3 to 1e6 parameters."""
    num_replay: int = 20
    """Replay inputs, of 10 outputs each, where they do not grow."""
    replays: tuple[int, ...] = (10, 20, 50, 100, 200)
    """Replay inputs that grow."""
    replay_width: int = 280
    """Units where replay inputs grow."""
    drift_widths: tuple[int, ...] = (11, 70)
    """Units of the walks at equal drift."""
    num_drift_steps: int = 100
    """Steps of those walks."""
    cuts: tuple[int, ...] = (1, 10, 100)
    """Into how many the steps of the penalty are cut."""
    bundle_width: int = 70
    """Units of the paths of a bundle."""
    num_paths: int = 16
    """Paths of a bundle."""
    most_dense: int = 3000
    """Parameters above which nothing is solved for all of them."""
    num_steps: int = 3
    """Steps of a timed call."""
    num_rounds: int = 3
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/paths.json."""


WAYS: dict[str, dict[str, Any]] = {
    "exact": {},
    "cg": {"solver": "cg"},
    "retract": {"retract": True},
    "penalty": {"driver": "penalty"},
    "layer": {"driver": "layer"},
}


def subject(width: int, num_replay: int) -> tuple[Any, Any, Any, Any]:
    """Return a network of that width with 64 inputs, a position, one of another network, and random replay inputs."""
    import jax
    import numpy as np

    from asymjax.models.config import ModelConfig

    model = ModelConfig.of(widths=(width, width), norm="none").build((64,), 10)
    position, target = (model.init(jax.random.key(seed), {}) for seed in (0, 1))
    return model, position, target, np.random.default_rng(0).normal(size=(num_replay, 64)).astype("float32")


def walker_of(model: Any, config: Any) -> Any:
    """Return the walk of a network without constants towards another one."""
    from asymjax.paths.invariant import make_walker
    from asymjax.paths.objectives import reach

    def layer_inputs(position: Any, inputs: Any) -> Any:
        return model.layer_inputs(model.merge(position, {}), {}, inputs)

    return make_walker(partial(outputs_of, model), reach(), config, "classification", layer_inputs)


def outputs_of(model: Any, position: Any, inputs: Any) -> Any:
    """Return the outputs of a network without constants."""
    return model.apply(position, {}, inputs)


def prepared(model: Any, position: Any, target: Any, inputs: Any, path: Any, num_steps: int) -> tuple[Any, Any]:
    """Return a compiled walk, and what it takes."""
    import jax

    from asymjax.paths.invariant import Replay

    walker = walker_of(model, path)
    given = (jax.random.key(0), walker.init(position), Replay(inputs, outputs_of(model, position, inputs)), target)
    return jax.jit(partial(walker.advance, num_steps=num_steps)).lower(*given).compile(), given


def dense_steps(model: Any, position: Any, target: Any, inputs: Any, num_steps: int) -> Callable[[], Any]:
    """Return a call of steps that solve with the whole metric, with the damping and the length of the exact driver."""
    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.flatten_util import ravel_pytree

    from asymjax.paths.invariant import PathConfig
    from asymjax.paths.metric import jacobian

    path, (flat, unravel), aim = PathConfig(), ravel_pytree(position), ravel_pytree(target)[0]

    def step(flat: Any, _: None) -> tuple[Any, None]:
        matrix = jacobian(partial(outputs_of, model), unravel(flat), inputs)
        metric = matrix.T @ matrix
        damping = path.damping * jnp.trace(metric) / len(matrix)
        way = jnp.linalg.solve(metric + damping * jnp.eye(flat.size), flat - aim)
        return flat - path.step_size * way / jnp.linalg.norm(way), None

    run = jax.jit(lambda flat: lax.scan(step, flat, None, length=num_steps)[0])
    return partial(run, flat)


def time_steps(config: Config, width: int) -> dict[str, Any]:
    """Time one step of each way, and print its row."""
    from measure import interleaved

    from asymjax import trees
    from asymjax.paths.invariant import PathConfig

    given = subject(width, config.num_replay)
    num_parameters = trees.num_entries(given[1])
    calls: dict[str, Callable[[], Any]] = {}
    for name, settings in WAYS.items():
        compiled, arguments = prepared(*given, PathConfig(**settings), config.num_steps)
        calls[name] = partial(compiled, *arguments)
    if num_parameters <= config.most_dense:
        calls["dense"] = dense_steps(*given, config.num_steps)
    times = [seconds / config.num_steps for seconds in interleaved(list(calls.values()), config.num_rounds)]
    row = {"part": "step", "num_parameters": num_parameters, "num_replay": config.num_replay}
    row |= {f"{name}_seconds": seconds for name, seconds in zip(calls, times, strict=True)}
    said = ", ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in zip(calls, times, strict=True))
    print(f"step     {num_parameters:9,d} parameters: {said} ms", flush=True)
    return row


def time_replay(config: Config, num_replay: int) -> dict[str, Any]:
    """Time one step, and ask for its memory, with so many replay inputs; print its row."""
    from measure import interleaved

    from asymjax import trees
    from asymjax.lab import memory
    from asymjax.paths.invariant import PathConfig

    given = subject(config.replay_width, num_replay)
    row: dict[str, Any] = {"part": "replay", "num_parameters": trees.num_entries(given[1]), "num_replay": num_replay}
    walks = {name: prepared(*given, PathConfig(**WAYS[name]), 1) for name in ("exact", "cg", "penalty", "layer")}
    times = interleaved([partial(compiled, *arguments) for compiled, arguments in walks.values()], config.num_rounds)
    for name, seconds in zip(walks, times, strict=True):
        row |= {f"{name}_seconds": seconds, f"{name}_bytes": memory.needed_bytes(walks[name][0])}
    said = ", ".join(
        f"{name} {1000 * row[f'{name}_seconds']:.1f} ms {row[f'{name}_bytes'] / 1e6:.0f} MB" for name in walks
    )
    print(f"replay   {num_replay:9,d} inputs: {said}", flush=True)
    return row


def compare_drift(config: Config, width: int) -> list[dict[str, Any]]:
    """Walk exactly and by penalties, and say how far the objective fell where outputs moved alike; print its rows."""
    from measure import interleaved

    from asymjax import trees
    from asymjax.paths.invariant import PathConfig

    given, length = subject(width, config.num_replay), config.num_drift_steps
    num_parameters = trees.num_entries(given[1])
    rows: list[dict[str, Any]] = []
    for name in ("exact", "retract"):
        compiled, arguments = prepared(*given, PathConfig(num_steps=length, **WAYS[name]), length)
        [time] = interleaved([partial(compiled, *arguments)], config.num_rounds)
        rows.append({"way": name, "num_steps": length, "seconds": time} | gains(compiled(*arguments)[1]))
    for cut in config.cuts:
        rows.append(best_penalty(config, given[0], arguments, cut, rows[0]["drift"]))
    for row in rows:
        said = ", ".join(f"{name} {value}" for name, value in row.items() if name != "tried")
        print(f"drift    {num_parameters:9,d} parameters: {said}", flush=True)
    shared = {"part": "equal drift", "num_parameters": num_parameters, "num_replay": config.num_replay}
    return [shared | row for row in rows]


def best_penalty(config: Config, model: Any, arguments: Any, cut: int, drift: float) -> dict[str, Any]:
    """Walk by penalties, with steps cut into several; return what all weights do, and the best within a drift."""
    import jax
    import numpy as np
    from measure import interleaved

    from asymjax.paths.invariant import PathConfig

    num_steps, step_size = cut * config.num_drift_steps, PathConfig().step_size / cut

    @jax.jit
    def walked(weight: Any, arguments: Any) -> Any:
        path = PathConfig(driver="penalty", penalty=weight, num_steps=num_steps, step_size=step_size)
        return walker_of(model, path).advance(*arguments, num_steps=num_steps)[1]

    [time] = interleaved([partial(walked, 0.1, arguments)], config.num_rounds)
    weights = np.logspace(-8, 0, 9).tolist()
    tried = [{"weight": weight} | gains(walked(weight, arguments)) for weight in weights]
    best = max((one for one in tried if one["drift"] <= drift), key=lambda one: one["fall"], default=None)
    least = min(one["drift"] for one in tried)
    found = {"way": "penalty", "num_steps": num_steps, "seconds": time, "least_drift": least, "tried": tried}
    return found | (best or {"weight": None, "fall": None, "drift": None})


def gains(told: Any) -> dict[str, float]:
    """Return by which share the objective fell over the steps of a walk, and how far outputs have moved after them."""
    return {"fall": 1 - float(told.objective[-1] / told.objective[0]), "drift": float(told.drift_max[-1])}


def time_bundle(config: Config) -> dict[str, Any]:
    """Time several paths side by side, one after the other in one program, and by a call each; print the row."""
    import jax
    from jax import lax
    from measure import interleaved

    from asymjax import trees
    from asymjax.paths.invariant import PathConfig, Replay

    model, _, target, inputs = subject(config.bundle_width, config.num_replay)
    walker = walker_of(model, PathConfig())
    positions = jax.vmap(lambda key: model.init(key, {}))(jax.random.split(jax.random.key(2), config.num_paths))

    def one(position: Any) -> Any:
        replay = Replay(inputs, outputs_of(model, position, inputs))
        return walker.advance(jax.random.key(0), walker.init(position), replay, target, config.num_steps)

    alone = jax.jit(one)
    each = [jax.tree.map(lambda leaf, index=index: leaf[index], positions) for index in range(config.num_paths)]
    calls: dict[str, Callable[[], Any]] = {
        "side by side": partial(jax.jit(jax.vmap(one)), positions),
        "in turn": partial(jax.jit(partial(lax.map, one)), positions),
        "by calls": lambda: [alone(position) for position in each],
    }
    times = interleaved(list(calls.values()), config.num_rounds)
    row = {"part": "bundle", "num_parameters": trees.num_entries(target), "num_paths": config.num_paths}
    row |= {f"{name.replace(' ', '_')}_seconds": time for name, time in zip(calls, times, strict=True)}
    said = ", ".join(f"{name} {time:.3f} s" for name, time in zip(calls, times, strict=True))
    print(f"bundle   {config.num_paths} paths: {said}", flush=True)
    return row


def main(config: Config) -> list[dict[str, Any]]:
    """Measure all parts and print one row each."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import ceilings, save

    machine = ceilings()
    rows = [time_steps(config, width) for width in config.widths]
    rows += [time_replay(config, num_replay) for num_replay in config.replays]
    for width in config.drift_widths:
        rows += compare_drift(config, width)
    rows.append(time_bundle(config))
    if config.save:
        print(save("paths", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
