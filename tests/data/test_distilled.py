"""Distilled rows as a dataset, and every way in which they can be another's."""

import json

import numpy as np
import pytest

from asymjax import data
from asymjax.data import distilled
from asymjax.errors import InputError

WINE = data.load("wine")
ORIGIN = {"dataset": "wine", "data_seed": 0, "checksum": WINE.checksum}
INPUTS, TARGETS = WINE.train.inputs[:6] + 0.5, np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a run of distilled rows and returns its name as a dataset."""

    def run(inputs=INPUTS, targets=TARGETS, origin=ORIGIN, content=None, is_done=True):
        (tmp_path / distilled.FILE).write_bytes(content or distilled.to_bytes(inputs, targets, json.dumps(origin)))
        if is_done:
            (tmp_path / "DONE").touch()
        return f"distilled/{tmp_path}"

    return run


def test_training_rows_are_distilled_and_all_else_is_the_original(write):
    name = write()
    found = data.load(name)
    np.testing.assert_array_equal(found.train.inputs, INPUTS)
    np.testing.assert_array_equal(found.train.targets, TARGETS)
    assert found.train.targets.dtype == np.int32 and found.name == name
    for one, other in zip(found.test, WINE.test, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.input_mean, WINE.input_mean)
    assert found.class_names == WINE.class_names and found.checksum != WINE.checksum
    assert data.load(write(inputs=INPUTS + 1)).checksum != found.checksum == data.load(write()).checksum


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": INPUTS[:, :5]}, r"rows have shape \(5,\), those of wine \(13,\)"),
        ({"targets": TARGETS + 1}, "label 3 in row 2"),
        ({"inputs": INPUTS * np.nan}, "expected a finite float32 number"),
        ({"origin": ORIGIN | {"checksum": "0" * 64}}, f"of checksum 000000000000, and that .* {WINE.checksum[:12]}"),
        ({"origin": ORIGIN | {"data_seed": 3}}, "distilled from wine with data_seed 3, .*; give --data-seed 3"),
        ({"origin": {"dataset": "wine"}}, "is damaged"),
        ({"origin": ORIGIN | {"dataset": "gone"}}, "unknown dataset 'gone'"),
        ({"is_done": False}, "no finished run of runs/distill.py: it has no DONE"),
        ({"content": b"PK nonsense"}, "is damaged"),
    ],
)
def test_what_is_not_of_the_dataset_is_refused(write, given, message):
    with pytest.raises(InputError, match=message):
        data.load(write(**given))


def test_a_file_that_was_changed_and_a_folder_that_is_none_are_refused(write, tmp_path):
    content = distilled.to_bytes(INPUTS, TARGETS, json.dumps(ORIGIN))
    name = write(content=content[:200] + bytes([content[200] ^ 1]) + content[201:])
    with pytest.raises(InputError, match="is damaged"):
        data.load(name)
    with pytest.raises(InputError, match=r"it has no distilled\.npz"):
        data.load(f"distilled/{tmp_path}/elsewhere")
