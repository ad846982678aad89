"""Time of an epoch of metanetworks whose weights are read for each batch, against weights that are in memory.

    python benchmarks/bench_streamed.py --zoo RUN_DIR

One zoo, read in both ways; after each pass over the training networks the validation networks are scored, as in a fit.
Rounds are interleaved, compile time is apart.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import tyro


@dataclass(frozen=True)
class Config:
    """What is timed."""

    zoo: Path
    """Run directory of a zoo."""
    num_epochs: int = 3
    """Passes of a fit."""
    batch_size: int = 128
    """Networks a step."""
    num_rounds: int = 5
    """Interleaved rounds; the median is reported."""
    save: bool = True
    """Write results/streamed.json."""


def fit_of(config: Config, settings: Any, is_streamed: bool) -> Any:
    """Return a call that fits one metanetwork, compiled."""
    import jax
    import jax.numpy as jnp

    import asymjax
    from asymjax.metanets import FitConfig, reader, split
    from asymjax.metanets.fit import make_fit, make_task

    fit_config = FitConfig(num_epochs=config.num_epochs, batch_size=config.batch_size)
    with mock.patch.object(reader, "MAX_BYTES", 0 if is_streamed else 2**40):
        zoo = asymjax.read_zoo(config.zoo)
        task = make_task(zoo, settings, zoo.target("test.accuracy"), split(zoo.ids), fit_config)
    arguments = jax.device_put((jax.random.key(0), jnp.asarray(1e-3), *task.shared))
    return partial(jax.jit(make_fit(task, fit_config)).lower(*arguments).compile(), *arguments)


def main(config: Config) -> list[dict[str, Any]]:
    """Time both ways for each metanetwork and print one row each."""
    from measure import interleaved, save

    from asymjax.metanets import HNP, FlatMLP

    rows = []
    for name, settings in {"flat_mlp": FlatMLP(), "hnp": HNP()}.items():
        calls = [fit_of(config, settings, is_streamed) for is_streamed in (False, True)]
        held, streamed = (seconds / config.num_epochs for seconds in interleaved(calls, config.num_rounds))
        row = {"metanet": name, "held_seconds": held, "streamed_seconds": streamed, "times_held": streamed / held}
        print(f"{name}: {held:.3f} s an epoch held, {streamed:.3f} s streamed, {streamed / held:.2f} times", flush=True)
        rows.append(row)
    if config.save:
        print(save("streamed", rows, {}))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
