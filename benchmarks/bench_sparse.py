"""A study of lottery tickets and a step of distillation, against the obvious loops.

    python benchmarks/bench_sparse.py

"study" is iterative pruning of a few initialisations with rewinding, and twins of the last tickets, from arrays to
weights, compilation included. Beside it one network at a time: "epochs", whose passes are compiled, and "steps", a
compiled step called batch by batch, as training loops mostly are. All train as many networks of one kind on digits, as
many steps. Each is timed at two lengths, so that what an epoch takes is told from what does not grow with it.
"distillation" is a step of images whose loss is averaged over random networks in one program, against a call for each
of them. Rounds are interleaved.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    networks: tuple[str, ...] = ("cnn",)
    """Networks of the study: cnn, two convolutions of 16 channels, or mlp, 16 units, which needs more epochs."""
    num_seeds: int = 4
    """Initialisations."""
    num_rounds: int = 10
    """Rounds of pruning."""
    num_twins: int = 3
    """Twins of each of the last tickets."""
    num_epochs: int = 40
    """Passes over the rows in a training."""
    batch_size: int = 16
    """Rows a step."""
    num_networks: tuple[int, ...] = (1, 4, 16)
    """Random networks of a step of distillation."""
    repeats: int = 2
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/sparse.json."""


def one_at_a_time(config: Config, model: Any, rows: Any, by_epoch: bool) -> Callable[[], Any]:
    """Return a study that trains one network after the other, by calls of an epoch or of a step."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from asymjax.sparse.masks import apply_mask, full_mask, prunable
    from asymjax.sparse.pruning import counts_left, prune
    from asymjax.train.losses import cross_entropy

    optimizer, num_batches = optax.sgd(0.1, momentum=0.9), len(rows.targets) // config.batch_size
    paths = prunable(model)

    def step(carry: Any, kept: Any, index: Any) -> Any:
        position, state = carry
        slope = jax.grad(lambda at: cross_entropy(model.apply, at, {}, rows.take(index)))(position)
        updates, state = optimizer.update(apply_mask(slope, kept), state)
        return optax.apply_updates(position, updates), state

    @jax.jit
    def epoch(carry: Any, kept: Any, order: Any) -> Any:
        return jax.lax.scan(lambda carry, index: (step(carry, kept, index), None), carry, order)[0]

    compiled_step, generator = jax.jit(step), np.random.default_rng(0)
    pick = jax.jit(lambda position, kept, left: prune(jax.tree.map(jnp.abs, position), kept, paths, left))

    def train(start: Any, kept: Any) -> Any:
        position = apply_mask(start, kept)
        carry = position, optimizer.init(position)
        for _ in range(config.num_epochs):
            order = generator.permutation(len(rows.targets))[: num_batches * config.batch_size]
            order = order.reshape(num_batches, config.batch_size)
            if by_epoch:
                carry = epoch(carry, kept, order)
            else:
                for index in order:
                    carry = compiled_step(carry, kept, index)
        return carry[0]

    def study() -> Any:
        found = []
        for seed in range(config.num_seeds):
            start = model.init(jax.random.key(seed), {})
            kept = full_mask(start)
            total = sum(leaf.size for path, leaf in _flat(start).items() if path in paths)
            for left in counts_left(total, 0.2, config.num_rounds)[1:]:
                kept = pick(train(start, kept), kept, left)
            found += [train(start, kept) for _ in range(config.num_twins)]
        return jax.block_until_ready(found)

    return study


def _flat(tree: Any) -> dict[str, Any]:
    from asymjax import trees

    return trees.flatten(tree)


def side_by_side(config: Config, model: Any, rows: Any) -> Callable[[], Any]:
    """Return the study of this library, all initialisations and all twins side by side."""
    import jax
    import optax

    from asymjax.tickets import find_tickets, train_twins

    def study() -> Any:
        tickets = find_tickets(
            jax.random.key(0),
            model,
            rows,
            num_seeds=config.num_seeds,
            num_rounds=config.num_rounds,
            num_epochs=config.num_epochs,
            batch_size=config.batch_size,
            optimizer=optax.sgd(0.1, momentum=0.9),
            show_progress=False,
        )
        twins = train_twins(model, rows, tickets, config.num_rounds, num_twins=config.num_twins, show_progress=False)
        return jax.block_until_ready(twins)

    return study


def time_study(config: Config, name: str, model: Any, rows: Any) -> list[dict[str, Any]]:
    """Time a study in three ways at two lengths, interleaved, and print what each takes."""
    from statistics import median

    lengths = (max(1, config.num_epochs // 4), config.num_epochs)
    ways: dict[tuple[str, int], Callable[[], Any]] = {}
    for length in lengths:
        own = replace(config, num_epochs=length)
        ways[("side by side", length)] = side_by_side(own, model, rows)
        ways[("epochs", length)] = one_at_a_time(own, model, rows, by_epoch=True)
        ways[("steps", length)] = one_at_a_time(own, model, rows, by_epoch=False)
    times: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for _ in range(config.repeats):
        for way, study in ways.items():
            start = time.perf_counter()
            study()
            times[way].append(time.perf_counter() - start)
    medians, found = {way: median(seconds) for way, seconds in times.items()}, []
    num_trainings = config.num_seeds * (config.num_rounds + config.num_twins)
    first = None
    for kind in dict.fromkeys(kind for kind, _ in ways):
        short, long = (medians[(kind, length)] for length in lengths)
        an_epoch = (long - short) / max(1, lengths[1] - lengths[0])
        fixed = long - an_epoch * lengths[1]
        first = first or (an_epoch, long)
        row = {"what": "study", "network": name, "way": kind, "trainings": num_trainings, "epochs": lengths}
        found.append({**row, "seconds": (short, long), "an_epoch": an_epoch, "fixed": fixed})
        print(
            f"{name}, {num_trainings} trainings, {kind}: {long:.1f} s, {long / first[1]:.2f} times; an epoch of all "
            f"{1000 * an_epoch:.0f} ms, {an_epoch / first[0]:.2f} times; {fixed:.1f} s that do not grow",
            flush=True,
        )
    return found


def time_distillation(config: Config, model: Any, rows: Any, num_networks: int) -> dict[str, Any]:
    """Time a step of images over several networks in one call, against a call for each network."""
    import jax
    from measure import interleaved

    from asymjax.sparse.distillation import DistillationConfig, by_class, make_distiller

    data = by_class(rows, 10)

    def call(count: int, num_calls: int) -> Callable[[], Any]:
        settings = DistillationConfig(images_per_class=10, num_networks=count)
        distiller = make_distiller(model, settings, rows.inputs.shape[1:], 10)
        state = jax.jit(distiller.init)(jax.random.key(0), {}, data)
        step = jax.jit(lambda key, state, frozen, data: distiller.advance(key, state, frozen, data, 1))

        def run() -> Any:
            after = state
            for _ in range(num_calls):
                after, _ = step(jax.random.key(0), after, {}, data)
            return after

        return run

    together, apart = interleaved([call(num_networks, 1), call(1, num_networks)], config.repeats + 1)
    print(f"distillation over {num_networks} networks: {together:.3f} s a step, apart {apart / together:.2f} times")
    return {"what": "distillation", "networks": num_networks, "seconds": together, "ratio": apart / together}


def main(config: Config) -> list[dict[str, Any]]:
    """Time all and print what is found."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    import jax
    import jax.numpy as jnp
    from measure import ceilings, save

    from asymjax import data
    from asymjax.models import ModelConfig
    from asymjax.models.backbones import CNN, MLP

    machine, dataset = ceilings(), data.load("digits")
    backbones = {"mlp": MLP((16,), norm="none"), "cnn": CNN((16, 16), norm="none", activation="relu")}
    models = {name: ModelConfig(backbone=one).build(dataset.input_shape, 10) for name, one in backbones.items()}
    rows, found = jax.tree.map(jnp.asarray, dataset.train), []
    for name in config.networks:
        found += time_study(config, name, models[name], rows)
    found += [time_distillation(config, models["cnn"], rows, count) for count in config.num_networks]
    if config.save:
        print(save("sparse", found, machine))
    return found


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
