"""Train sweeps and run chains of several sizes on the devices there are, and save everything they leave.

python drive.py FILE.npz
"""

import json
import re
import sys

import jax
import numpy as np
from model_of import model_of

from asymjax import data, rng, trees
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.samplers import HMC
from asymjax.lab import chains, devices, sweep
from asymjax.lab.recorder import InMemory
from asymjax.models import draw_frozen
from asymjax.train import losses, make_optimizer, make_train
from asymjax.train.optimizers import OptimizerConfig

COUNTS = {1: (8, 1), 4: (8, 3)}  # by number of devices
ARCHS = ("standard", "w_asym")
COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast")
CONSTANT = re.compile(r"= [a-z]+(\d*)\w*\[([\d,]*)\]\S* constant\(")
DATASET = data.load("digits")


def largest_constant(text):
    """Return the bytes of the largest constant in the text of a compiled program."""
    sizes = [
        np.prod([int(size) for size in shape.split(",") if size], dtype=int) * max(8, int(bits or 8)) // 8
        for bits, shape in CONSTANT.findall(text)
    ]
    return int(max(sizes, default=0))


def record_programs(compile_ahead, programs, label):
    """Wrap ``compile_ahead`` so that it notes what every chunk is lowered and compiled to, by label and phase."""

    def recording(run, fn, *args, **options):
        compiled = compile_ahead(run, fn, *args, **options)
        program = {"fn": fn, "args": args, "compiled": compiled.as_text()}
        programs.setdefault(f"{label[0]} {options['phase']}", program)
        return compiled

    return recording


def make_model(arch):
    model = model_of(arch, widths=(16,), activation="relu").build(DATASET.input_shape, DATASET.num_outputs)
    return model, draw_frozen(model, 0)


def member_keys(count, role):
    return rng.member_keys(rng.role_key(0, role), count)


def make_trainer(arch, num_epochs, batch_size):
    model, frozen = make_model(arch)
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.01), 100)
    return make_train(model, losses.cross_entropy, optimizer, num_epochs, batch_size, in_effective_weights=True), frozen


def train(arch, count, inside="auto", num_epochs=2, batch_size=64):
    """Return the position of ``count`` networks after training, by path."""
    trainer, frozen = make_trainer(arch, num_epochs, batch_size)
    placement = devices.place(count, inside=inside)
    keys = member_keys(count, "train")
    state = sweep.run_sweep(InMemory(), trainer, keys, keys, frozen, DATASET.train, placement, num_epochs, 1)
    return trees.flatten(trees.to_host(state.position))


def make_chain_problem(arch):
    model, frozen = make_model(arch)
    return PosteriorConfig().of(model, DATASET.task, frozen, DATASET.train)


def run_chains(arch, count, inside="auto"):
    """Return the draws of ``count`` chains and what they were tuned to, by name."""
    problem, algorithm = make_chain_problem(arch), HMC(num_warmup=10, max_integration_steps=8)
    placement, run = devices.place(count, inside=inside), InMemory()
    start = jax.jit(jax.vmap(problem.init, (0, None)))(member_keys(count, "init"), problem.frozen)
    position, tuned = chains.warm_up(run, problem, member_keys(count, "warmup"), start, placement, algorithm)
    inputs = DATASET.test.inputs[:10]
    keys, keep = member_keys(count, "sample"), chains.keep_weights
    chains.sample_chains(run, problem, keys, position, tuned, inputs, placement, algorithm, 2, keep)
    return run.draws | {f"tuned/{name}": np.asarray(value) for name, value in tuned._asdict().items()}


def describe(program):
    """Return what the tests ask of a compiled chunk."""
    exported = jax.export.export(jax.jit(program["fn"]), platforms=["tpu"])(*program["args"])
    return {
        "num_operations": program["compiled"].count(" = "),
        "collectives": sorted(set(COLLECTIVE.findall(program["compiled"]))),
        "largest_constant": largest_constant(program["compiled"]),
        "platforms": exported.platforms,
    }


def main(path):
    programs, label = {}, [""]
    sweep.compile_ahead = chains.compile_ahead = record_programs(sweep.compile_ahead, programs, label)
    left = {}
    for count in COUNTS[jax.device_count()]:
        for arch in ARCHS:
            label[0] = arch
            left |= {f"train/{arch}/{count}/{name}": value for name, value in train(arch, count).items()}
        left |= {f"chains/w_asym/{count}/{name}": value for name, value in run_chains("w_asym", count).items()}
    if jax.device_count() == 4:
        for label[0], count, inside in (("two at once", 16, 2), ("vectorized", 8, "vectorized")):
            train("w_asym", count, inside, num_epochs=1)
        run_chains("w_asym", 8, "vectorized")
    np.savez(path, **left)
    print(json.dumps({name: describe(program) for name, program in programs.items()}))


if __name__ == "__main__":
    devices.configure_host_devices()
    main(sys.argv[1])
