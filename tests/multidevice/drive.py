"""Train sweeps and run chains of several sizes on the devices there are, and save everything they leave.

    python drive.py FILE.npz
"""

import json
import re
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import jax
import numpy as np

from asymjax import chunks, data, parallel, rng, trees
from asymjax.config import HMCConfig, ModelConfig, OptimizerConfig, PosteriorConfig
from asymjax.inference import sample
from asymjax.models import build_model, draw_frozen
from asymjax.train import losses, make_optimizer, make_train, sweep

COUNTS = (8, 3, 1)
ARCHS = ("standard", "w_asym")
COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast")
CONSTANT = re.compile(r"= (\w+)\[([\d,]*)\]\S* constant\(")
DATASET = data.load("digits")


class MemoryRun:
    """A run directory that keeps draws in memory."""

    path, seconds, show_progress = Path("."), {}, False

    def __init__(self):
        self.draws = []

    def clock(self, kind):
        return nullcontext()

    def restore(self, phase, like):
        return 0, None

    def commit(self, phase, num_done, state, draws=None, metrics=None):
        if draws is not None:
            self.draws.append(draws)


def largest_constant(text):
    """Return the bytes of the largest constant in the text of a compiled program."""
    sizes = [0]
    for dtype, shape in CONSTANT.findall(text):
        bits = int((re.findall(r"\d+", dtype) or [8])[0])
        sizes.append(int(np.prod([int(size) for size in shape.split(",") if size])) * max(1, bits // 8))
    return max(sizes)


def record_programs(programs):
    """Make ``compile_ahead`` note what every chunk compiles to."""

    def recording(run, fn, *args, donate=()):
        lowered = jax.jit(fn, donate_argnums=donate).lower(*args)
        compiled = lowered.compile()
        text = compiled.as_text()
        exported = jax.export.export(jax.jit(fn), platforms=["tpu"])(*args)
        programs.append(
            {
                "lowered": lowered.as_text(),
                "num_operations": text.count(" = "),
                "collectives": sorted(set(COLLECTIVE.findall(text))),
                "largest_constant": largest_constant(text),
                "platforms": exported.platforms,
            }
        )
        return compiled

    sweep.compile_ahead = sample.compile_ahead = recording


def make_model(arch):
    model = build_model(ModelConfig(arch, widths=(16, 16)), DATASET.input_shape, DATASET.num_outputs)
    return model, draw_frozen(model, 0)


def member_keys(count, role):
    return rng.member_keys(rng.role_key(0, role), count)


def train(arch, count, inside="auto", num_epochs=2, batch_size=64):
    """Return what a sweep of ``count`` networks leaves, by name."""
    model, frozen = make_model(arch)
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.01), 100)
    trainer = make_train(model, losses.cross_entropy, optimizer, num_epochs, batch_size, in_effective_weights=True)
    placement = parallel.place(count, inside=inside)
    keys = member_keys(count, "train")
    state = sweep.run_sweep(MemoryRun(), trainer, keys, frozen, DATASET.train, placement, num_epochs, 1)
    return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(trees.to_host(state)))}


def run_chains(arch, count, inside="auto", step_scale=1.0, **settings):
    """Return the draws of ``count`` chains and what they were tuned to, by name."""
    model, frozen = make_model(arch)
    config = HMCConfig(num_chains=count, **{"num_draws": 2, "num_warmup": 10, "max_integration_steps": 8} | settings)
    problem = sample.make_problem(model, DATASET.task, PosteriorConfig(), frozen, DATASET.train)
    placement, run = parallel.place(count, inside=inside), MemoryRun()
    start = jax.jit(partial(parallel.map_leading(problem.init, placement, [True, False])))(
        member_keys(count, "init"), frozen
    )
    position, tuned = sample.warm_up(run, problem, member_keys(count, "warmup"), start, placement, config)
    tuned = tuned._replace(step_size=tuned.step_size * step_scale)
    inputs = DATASET.test.inputs[:10]
    sample.sample_chains(run, problem, member_keys(count, "sample"), position, tuned, inputs, placement, config, True)
    draws = {name: np.concatenate([draw[name] for draw in run.draws], axis=1) for name in run.draws[0]}
    return draws | {f"tuned/{name}": np.asarray(value) for name, value in tuned._asdict().items()}


def main(path):
    programs: list = []
    record_programs(programs)
    left = {}
    for arch in ARCHS:
        for count in COUNTS:
            left |= {f"train/{arch}/{count}/{name}": value for name, value in train(arch, count).items()}
    for count in COUNTS:
        left |= {f"chains/w_asym/{count}/{name}": value for name, value in run_chains("w_asym", count).items()}
    np.savez(path, **left)
    for program in programs:
        del program["lowered"]
    print(json.dumps(programs))


if __name__ == "__main__":
    parallel.configure_host_devices()
    main(sys.argv[1])
