"""Time of an epoch of each metanetwork, and of equivariant layers against the plain ways to write them.

    python benchmarks/bench_metanets.py

Epochs: networks 64-16-10 with random weights, one pass of AdamW over all of them and the R2 on 128 after it, as in a
fit; rounds are interleaved, compile time is apart. Beside hnp stands the same function whose layers are written down
pair by pair (pair_by_pair.py). Loop: the outputs of hnp for a few networks, in one call and one network after the
other. Equations: of the gradient of both by all their parameters, for one network, as hidden layers become more.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import tyro

PEER = "hnp, pair by pair"
INPUTS, UNITS, OUTPUTS = 64, 16, 10
NUM_VALIDATION = 128
TOLERANCE = 1e-4
"""Of outputs of order one, by which hnp and its peer may differ."""


@dataclass(frozen=True)
class Config:
    """What is timed."""

    num_networks: int = 10_000
    """Networks of an epoch."""
    batch_size: int = 128
    """Networks a step."""
    num_looped: int = 32
    """Networks that are read one after the other."""
    num_hidden: tuple[int, ...] = (4, 8, 16)
    """Hidden layers of the networks whose equations are counted."""
    num_rounds: int = 5
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/metanets.json."""


def random_zoo(num_networks: int, num_hidden: int = 1, seed: int = 0) -> Any:
    """Return networks that nobody trained; the target is the norm of the first kernel."""
    import jax
    import numpy as np

    from asymjax import trees
    from asymjax.metanets import Zoo
    from asymjax.models import draw_frozen
    from asymjax.models.config import ModelConfig

    model = ModelConfig.of(widths=(UNITS,) * num_hidden, norm="none", activation="relu").build((INPUTS,), OUTPUTS)
    frozen, draw = draw_frozen(model, 0), np.random.default_rng(seed)
    like = jax.eval_shape(model.init, jax.random.key(0), frozen)
    position = jax.tree.map(lambda leaf: draw.normal(size=(num_networks, *leaf.shape)).astype(np.float32), like)
    norms = np.sqrt(np.sum(trees.flatten(position)["dense_0/kernel"] ** 2, axis=(1, 2)))
    scores = {"test.accuracy": np.asarray(norms, float)}
    return Zoo(model, frozen, position, scores, {}, np.arange(num_networks), {})


@contextmanager
def pair_by_pair() -> Iterator[None]:
    """Let metanetworks that are built meanwhile have layers that are written down pair by pair."""
    import pair_by_pair

    from asymjax.metanets import equivariant

    with mock.patch.object(equivariant, "linear", pair_by_pair.linear):
        yield


def tasks(zoo: Any, config: Any) -> dict[str, Any]:
    """Return what each metanetwork is trained on, all networks of a zoo; the peer last."""
    import numpy as np

    from asymjax.metanets import HNP, METANETS, Parts, Regression
    from asymjax.metanets.fit import make_task

    every, few = np.arange(zoo.num_networks), np.arange(min(zoo.num_networks, NUM_VALIDATION))
    arguments = zoo.target("test.accuracy"), Parts(every, few, few), config
    kinds = {name: kind for name, kind in METANETS.items() if not issubclass(kind, Regression)}
    made = {name: make_task(zoo, kind(), *arguments) for name, kind in kinds.items()}
    with pair_by_pair():
        return made | {PEER: make_task(zoo, HNP(), *arguments)}


def require_same(task: Any, peer: Any) -> None:
    """Require that hnp and its peer are one function."""
    import jax
    import numpy as np

    few = jax.tree.map(lambda leaf: leaf[:8], task.features.held)

    def outputs(metanet: Any) -> Any:
        return jax.jit(lambda key: metanet.apply(metanet.init(key), few))(jax.random.key(0))

    np.testing.assert_allclose(outputs(task.metanet), outputs(peer.metanet), rtol=TOLERANCE, atol=TOLERANCE)


def epoch_rows(made: dict[str, Any], config: Config, fit_config: Any) -> list[dict[str, Any]]:
    """Time an epoch of each metanetwork."""
    from functools import partial

    import jax
    import jax.numpy as jnp
    from measure import interleaved

    from asymjax import trees
    from asymjax.metanets.fit import make_fit

    rows: list[dict[str, Any]] = []
    calls = []
    for name, task in made.items():
        arguments = jax.device_put((jax.random.key(0), jnp.asarray(1e-3), *task.shared))
        begun = time.perf_counter()
        program = jax.jit(make_fit(task, fit_config)).lower(*arguments).compile()
        compile_seconds = time.perf_counter() - begun
        num_parameters = trees.num_entries(jax.eval_shape(task.metanet.init, arguments[0]))
        calls.append(partial(program, *arguments))
        rows.append({"part": "epoch", "metanet": name, "num_networks": config.num_networks})
        rows[-1] |= {"num_parameters": num_parameters, "compile_seconds": compile_seconds}
    times = interleaved(calls, config.num_rounds)
    of_hnp = times[list(made).index("hnp")]
    return [row | {"seconds": one, "times_hnp": one / of_hnp} for row, one in zip(rows, times, strict=True)]


def loop_row(task: Any, config: Config) -> dict[str, Any]:
    """Time the outputs for a few networks in one call, and one network after the other."""
    import jax
    from measure import interleaved

    few = jax.device_put(jax.tree.map(lambda leaf: leaf[: config.num_looped], task.features.held))
    count = len(jax.tree.leaves(few)[0])
    single = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], few) for i in range(count)]
    params, apply = task.metanet.init(jax.random.key(0)), jax.jit(task.metanet.apply)
    together, looped = interleaved(
        [lambda: apply(params, few), lambda: [apply(params, one) for one in single]], config.num_rounds
    )
    row = {"part": "loop", "num_networks": count, "together_seconds": together, "looped_seconds": looped}
    return row | {"times_together": looped / together}


def num_equations(metanet: Any, features: Any) -> int:
    """Return the number of equations of the gradient of the output for one network."""
    import jax

    one = jax.tree.map(lambda leaf: leaf[:1], features)

    def count(jaxpr: Any) -> int:
        inner = (value for eqn in jaxpr.eqns for value in jax.tree.leaves(tuple(eqn.params.values())))
        own = sum("jaxpr" not in eqn.params for eqn in jaxpr.eqns)
        return own + sum(count(value.jaxpr) for value in inner if hasattr(value, "jaxpr"))

    params = jax.eval_shape(metanet.init, jax.random.key(0))
    return count(jax.make_jaxpr(jax.grad(lambda params: metanet.apply(params, one)[0]))(params).jaxpr)


def equation_rows(config: Config, fit_config: Any) -> list[dict[str, Any]]:
    """Count the equations of hnp and of its peer."""
    import numpy as np

    from asymjax import trees
    from asymjax.metanets import HNP, Parts
    from asymjax.metanets.fit import make_task

    rows = []
    for num_hidden in config.num_hidden:
        zoo, two = random_zoo(2, num_hidden), np.arange(2)
        arguments = zoo, HNP(), zoo.target("test.accuracy"), Parts(two, two, two), fit_config
        task = make_task(*arguments)
        with pair_by_pair():
            peer = make_task(*arguments)
        if num_hidden == min(config.num_hidden):
            require_same(task, peer)
        row = {"part": "equations", "num_hidden": num_hidden, "num_leaves": len(trees.flatten(zoo.position))}
        counts = [num_equations(one.metanet, one.features.held) for one in (task, peer)]
        rows.append(row | dict(zip(("hnp", "pair_by_pair"), counts, strict=True)))
    return rows


def describe(row: dict[str, Any]) -> str:
    """Write a row in words."""
    if row["part"] == "equations":
        return (
            f"{row['num_hidden']} hidden layers, {row['num_leaves']} leaves: {row['hnp']:,} equations of hnp, "
            f"{row['pair_by_pair']:,} pair by pair"
        )
    if row["part"] == "loop":
        return (
            f"outputs of hnp for {row['num_networks']} networks: {1e3 * row['together_seconds']:.2f} ms together, "
            f"{1e3 * row['looped_seconds']:.2f} ms one after the other, {row['times_together']:.1f} times as long"
        )
    return (
        f"{row['metanet']:18s}: {row['seconds']:.3f} s an epoch of {row['num_networks']:,} networks, "
        f"{row['times_hnp']:.2f} of hnp; {row['num_parameters']:,} parameters, compile {row['compile_seconds']:.1f} s"
    )


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from measure import save

    from asymjax.metanets import FitConfig

    fit_config = FitConfig(num_epochs=1, batch_size=config.batch_size)
    made = tasks(random_zoo(config.num_networks), fit_config)
    require_same(made["hnp"], made[PEER])
    rows = epoch_rows(made, config, fit_config)
    rows += [loop_row(made["hnp"], config), *equation_rows(config, fit_config)]
    for row in rows:
        print(describe(row), flush=True)
    if config.save:
        print(save("metanets", rows, {}))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
