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

# What is trained or sampled, by number of devices: kind, and how many. Three are one on each of three devices.
KINDS = ("train/standard", "train/w_asym", "chains/w_asym", "chains/adapted")
CASES = {
    1: [*((kind, 8) for kind in KINDS), ("train/w_asym", 1)],
    4: [*((kind, 8) for kind in KINDS), ("train/w_asym", 3), ("chains/w_asym", 3)],
}
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


def train(arch, count, inside="auto"):
    """Return the position of ``count`` networks after two epochs of training, by path."""
    model, frozen = make_model(arch)
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.01), 100)
    trainer = make_train(model, losses.cross_entropy, optimizer, 2, 64, in_effective_weights=True)
    placement, keys = devices.place(count, inside=inside), member_keys(count, "train")
    state = sweep.run_sweep(InMemory(), trainer, keys, keys, frozen, DATASET.train, placement, 2, 1)
    return trees.flatten(trees.to_host(state.position))


def run_chains(label, count):
    """Return the draws of ``count`` chains and what they were tuned to, by name; and the arguments of ``sample``."""
    model, frozen = make_model("w_asym")
    problem = PosteriorConfig().of(model, DATASET.task, frozen, DATASET.train)
    algorithm = HMC(num_warmup=10, max_integration_steps=8, trajectory="adapted" if label == "adapted" else "fixed")
    start = jax.jit(jax.vmap(problem.init, (0, None)))(member_keys(count, "init"), problem.frozen)
    placement, keys = devices.place(count), member_keys(count, "warmup")
    position, tuned = chains.warm_up(InMemory(), problem, keys, start, placement, algorithm)
    draws = sample(problem, algorithm, position, tuned, count)
    draws |= {f"tuned/{name}": np.asarray(value) for name, value in tuned._asdict().items()}
    return draws, (problem, algorithm, position, tuned, count)


def sample(problem, algorithm, position, tuned, count, inside="auto"):
    """Return two draws of ``count`` chains by name."""
    placement, run, inputs = devices.place(count, inside=inside), InMemory(), DATASET.test.inputs[:10]
    keys, keep = member_keys(count, "sample"), chains.keep_weights
    chains.sample_chains(run, problem, keys, position, tuned, inputs, placement, algorithm, 2, keep)
    return run.draws


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
    left, warm = {}, {}
    for kind, count in CASES[jax.device_count()]:
        what, label[0] = kind.split("/")
        if what == "chains":
            arrays, warm[label[0], count] = run_chains(label[0], count)
        else:
            arrays = train(label[0], count)
        left |= {f"{kind}/{count}/{name}": value for name, value in arrays.items()}
    if jax.device_count() == 4:
        for label[0], count, inside in (("two at once", 16, 2), ("vectorized", 8, "vectorized")):
            arrays = train("w_asym", count, inside)
            left |= {f"train/{label[0]}/{count}/{name}": value for name, value in arrays.items()}
        arrays = sample(*warm["w_asym", 8], inside="vectorized")
        left |= {f"chains/vectorized/8/{name}": value for name, value in arrays.items()}
    np.savez(path, **left)
    print(json.dumps({name: describe(program) for name, program in programs.items()}))


if __name__ == "__main__":
    devices.configure_host_devices()
    main(sys.argv[1])
