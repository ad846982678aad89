"""Tiny networks trained one after the other, each with files of its own: what ``bench_scaling.py`` compares with.

    python benchmarks/one_at_a_time.py --way step --num-networks 16 --folder /tmp/networks

The network of ``bench_scaling.py --parts tiny``: digits, one hidden layer, AdamW, batches of 64. Prints the seconds of
each network, as JSON. The first of all, which compiles, is on no clock, nor is the start of Python.
"""

import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

BATCH_SIZE = 64


@dataclass(frozen=True)
class Config:
    """What is trained, and how."""

    way: Literal["library", "step", "scan"] = "step"
    """library: a sweep of one network, a run directory each. step: by hand, one jitted step called from Python for
    each batch. scan: by hand, one compiled training called for each network. By hand nothing is scored."""
    num_networks: int = 16
    """Networks on the clock."""
    width: int = 16
    """Units of the hidden layer."""
    num_epochs: int = 10
    """Passes over the training rows."""
    folder: Path = Path("one_at_a_time")
    """Where the networks are saved."""


def by_library(config: Config) -> Callable[[int], None]:
    """Return the training of a network as a sweep of one, which scores and stores it."""
    from asymjax.lab.command_line import start_jax
    from asymjax.lab.run_config import RunConfig
    from asymjax.models.config import ModelConfig
    from asymjax.rng import SeedConfig
    from asymjax.train.optimizers import OptimizerConfig

    start_jax()
    from asymjax.experiments.train_sweep.config import Config as Sweep
    from asymjax.experiments.train_sweep.grid_run import run_train_grid

    model = ModelConfig.of(widths=(config.width,), norm="none")
    optimizer = OptimizerConfig(num_epochs=config.num_epochs, batch_size=BATCH_SIZE)

    def train(index: int) -> None:
        where = RunConfig(run_dir=config.folder / str(index), progress=False)
        seeds = SeedConfig(init_seed=index, seed=index)
        with contextlib.redirect_stdout(io.StringIO()):
            run_train_grid(Sweep(model=model, optimizer=optimizer, num_seeds=1, seeds=seeds, run=where))

    return train


def read_rows() -> Any:
    """Return the training rows, inputs [row, pixel]."""
    import numpy as np

    from asymjax import data

    rows = data.load("digits").train
    return rows._replace(inputs=np.asarray(rows.inputs).reshape(len(rows.targets), -1))


def make_step(rows: Any) -> tuple[Callable, Callable]:
    """Return ``init(key, width)`` and one step of AdamW, as one would write them for this network alone."""
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = optax.adamw(1e-3, weight_decay=0.0)

    def init(key: Any, width: int) -> Any:
        shapes = ((rows.inputs.shape[1], width), (width, 10))
        keys = jax.random.split(key, 2)
        kernels = [jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(keys, shapes, strict=True)]
        params = [(kernel, jnp.zeros(kernel.shape[1])) for kernel in kernels]
        return params, optimizer.init(params)

    def loss(params: Any, inputs: Any, targets: Any) -> Any:
        (kernel, bias), (last_kernel, last_bias) = params
        logits = jax.nn.gelu(inputs @ kernel + bias) @ last_kernel + last_bias
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def step(state: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
        params, moments = state
        value, grad = jax.value_and_grad(loss)(params, inputs, targets)
        updates, moments = optimizer.update(grad, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    return init, step


def save(path: Path, state: Any) -> None:
    """Write the weights of a network to a file of its own."""
    import jax
    import numpy as np

    np.savez(path, *map(np.asarray, jax.tree.leaves(state[0])))


def by_step(config: Config) -> Callable[[int], None]:
    """Return the training of a network with a Python loop over batches."""
    import jax
    import numpy as np

    rows = read_rows()
    init, step = make_step(rows)
    start, advance = jax.jit(init, static_argnums=1), jax.jit(step, donate_argnums=0)
    config.folder.mkdir(parents=True)

    def train(index: int) -> None:
        order, state = np.random.default_rng(index), start(jax.random.key(index), config.width)
        for _ in range(config.num_epochs):
            shuffled = order.permutation(len(rows.targets))
            for first in range(0, len(shuffled) - BATCH_SIZE + 1, BATCH_SIZE):
                batch = shuffled[first : first + BATCH_SIZE]
                state, _ = advance(state, rows.inputs[batch], rows.targets[batch])
        save(config.folder / f"{index}.npz", state)

    return train


def by_scan(config: Config) -> Callable[[int], None]:
    """Return the training of a network with one compiled scan over all batches."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    rows = jax.tree.map(jnp.asarray, read_rows())
    init, step = make_step(rows)
    num_batches = len(rows.targets) // BATCH_SIZE
    config.folder.mkdir(parents=True)

    def epoch(state: Any, key: Any) -> tuple[Any, Any]:
        order = jax.random.permutation(key, len(rows.targets))[: num_batches * BATCH_SIZE]
        batches = order.reshape(num_batches, BATCH_SIZE)
        return lax.scan(lambda state, batch: step(state, rows.inputs[batch], rows.targets[batch]), state, batches)

    @jax.jit
    def whole(key: Any) -> Any:
        return lax.scan(epoch, init(key, config.width), jax.random.split(key, config.num_epochs))

    def train(index: int) -> None:
        save(config.folder / f"{index}.npz", whole(jax.random.key(index))[0])

    return train


def main(config: Config) -> dict[str, list[float]]:
    """Train the networks and print the seconds of each, on the clock and of processors."""
    train = {"library": by_library, "step": by_step, "scan": by_scan}[config.way](config)
    train(0)
    times: dict[str, list[float]] = {"seconds": [], "cpu_seconds": []}
    for index in range(1, config.num_networks + 1):
        start, cpu_start = time.perf_counter(), time.process_time()
        train(index)
        times["seconds"].append(time.perf_counter() - start)
        times["cpu_seconds"].append(time.process_time() - cpu_start)
    print(json.dumps(times))
    return times


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
