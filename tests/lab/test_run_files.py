"""What run directories hold as JSON."""

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.inference.samplers import HMC
from asymjax.lab import run_files

ROOT = Path(__file__).parents[2]


def strict(text):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_what_is_not_finite_is_null():
    value = {
        "plain": [1.5, float("nan"), float("inf")],
        "numpy": np.array([[1, np.nan], [-np.inf, 2]]),
        "jax": jnp.array([0.5, jnp.nan]),
        "scalars": (np.float32("nan"), np.float64(2), np.int32(3), np.bool_(True)),
        "settings": HMC(),
        Path("a"): Path("b/c"),
    }
    read = strict(run_files.dumps(value))
    assert read["plain"] == [1.5, None, None] and read["numpy"] == [[1, None], [None, 2]] and read["jax"] == [0.5, None]
    assert read["scalars"] == [None, 2, 3, True] and read["settings"]["jitter"] == 0.5 and read["a"] == "b/c"


def test_all_json_that_is_kept_is_written_in_one_way():
    files = [file for folder in ("asymjax", "runs") for file in (ROOT / folder).rglob("*.py")]
    calls = {file.name for file in files if re.search(r"json\.dumps?\(", file.read_text())}
    assert calls == {"run_files.py", "processes.py"}  # What processes tell each other is not kept.


def test_a_line_of_metrics_that_is_there_twice_is_named(tmp_path):
    line = '{"phase": "warmup", "chunk": 0, "num_grad_evals": [3, 4]}\n'
    (tmp_path / "metrics.jsonl").write_text(line)
    (tmp_path / "metrics.p1.jsonl").write_text(line)
    assert run_files.read_metrics(tmp_path)[0]["num_grad_evals"] == [3, 4, 3, 4]  # Of two processes.
    (tmp_path / "metrics.jsonl").write_text(2 * line)
    with pytest.raises(InputError, match=r"metrics.jsonl, line 2 repeats chunk 1 of warmup"):
        run_files.read_metrics(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "NaN", '{"phase": "train"}', "\x00\xff"])
def test_a_line_of_metrics_that_is_none_is_named(tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text('{"phase": "train", "chunk": 0}\n' + text + "\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"metrics.jsonl, line 2 is damaged"):
        run_files.read_metrics(tmp_path)
