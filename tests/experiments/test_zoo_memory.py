"""Zoos larger than memory: the peak of a fit, of a process of its own, does not grow with the number of networks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray

from asymjax.lab.results import NETWORKS, RESULTS, create_group, open_networks, write_arrays, write_rows

ROOT = Path(__file__).parents[2]
COUNT, CHUNK, WIDTH = 42, 256, 256
FEW, MANY = 2_000, 8_000
MEBIBYTE = 2**20
FLAGS = f"--num-networks {COUNT} --num-epochs 2 --batch-size 256 --no-progress"
FIT = """
import sys
import numpy as np
import asymjax
from asymjax.metanets import FitConfig, FlatMLP, fit, reader
path, most_bytes = sys.argv[1:]
reader.MAX_BYTES = int(most_bytes)
zoo = asymjax.read_zoo(path)
config = FitConfig(num_epochs=1, batch_size=64, learning_rates=(0.001,), num_trials=1, num_seeds=1)
fit(zoo, FlatMLP(widths=(8,), standardised="entry"), config=config)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def grown(path, copy, count):
    """Return a copy of a zoo's directory with so many networks of random weights."""
    shutil.copytree(path, copy)
    known, numbers = open_networks(path).load(), np.random.default_rng(0)
    shutil.rmtree(copy / RESULTS)

    def rows(array, size):
        values = numbers.normal(size=(size, *array.shape[1:]), scale=0.1) if array.dtype.kind == "f" else 0
        return (
            np.full((size, *array.shape[1:]), -1, array.dtype) if np.ndim(values) == 0 else values.astype(array.dtype)
        )

    template = xarray.Dataset(
        {
            name: (array.dims, np.broadcast_to(array.values[:1], (count, *array.shape[1:])))
            for name, array in known.items()
        },
        {name: ("network", np.resize(array.values, count)) for name, array in known.coords.items()},
    )
    create_group(copy, NETWORKS, template, {"network": CHUNK})
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        write_rows(copy, NETWORKS, {"network": start}, {name: rows(array, size) for name, array in known.items()})
    write_arrays(copy, {})
    return copy


@pytest.mark.long
def test_the_memory_of_a_fit_does_not_grow_with_a_zoo(script, python, tmp_path):
    path = tmp_path / "run"
    script(ROOT / "runs" / "zoo.py", *FLAGS.split(), "--widths", WIDTH, "--run-dir", path)
    zoos = [grown(path, tmp_path / str(count), count) for count in (FEW, MANY)]
    num_trainable = json.loads((path / "summary.json").read_text())["num_trainable"]
    added = 4 * num_trainable * (MANY - FEW)
    assert added > 400 * MEBIBYTE

    def peak(zoo, most_bytes):
        return 1024 * int(python("-c", FIT, zoo, most_bytes).stdout)

    few, many = (peak(zoo, 2**24) for zoo in zoos)
    assert many - few < 64 * MEBIBYTE, (few, many)
    assert peak(zoos[1], 2**40) - many > added  # In memory it grows with the zoo.
