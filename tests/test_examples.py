"""The files of examples/: short, and what they say is so, at sizes of a test."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
MAX_LINES = 100


@pytest.fixture(autouse=True)
def _as_a_user_has_jax():
    with jax.numpy_rank_promotion("allow"):
        yield


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES[0].with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_touch_no_run_directory(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    assert "asymjax.lab" not in text and "asymjax.experiments" not in text


@pytest.mark.long
def test_hmc():
    rhat = load("hmc").main(num_warmup=30, num_draws=30, map_steps=200, show_progress=False)
    assert rhat.shape == (100, 1) and np.median(rhat) < 1.2


def test_linear_mode_connectivity(tmp_path):
    figure = tmp_path / "figure.png"
    barriers = load("linear_mode_connectivity").main(num_seeds=2, num_epochs=15, num_points=5, figure=figure)
    assert barriers["W-asymmetric"] < barriers["standard"] and barriers["standard, aligned"] < barriers["standard"]
    assert figure.stat().st_size > 4000


@pytest.mark.long
def test_my_transformer(capsys):
    trained, sampled = load("my_transformer").main(num_epochs=6, num_warmup=6, num_draws=8, num_rows=50)
    assert trained > 0.5 and sampled > 0.2
    found = capsys.readouterr().out
    assert "permutations of 8 units: attention/query.1, another in each of 2" in found
    assert "no effect on the outputs: attention/key/bias" in found


def test_my_sampler():
    errors = load("my_sampler").main(num_draws=400)
    assert np.max(np.abs(errors)) < 5  # Standard errors: one false alarm in 900,000.


def test_my_method():
    module = load("my_method")
    barriers = module.main(num_seeds=2, num_epochs=10)
    assert barriers.keys() == {"Standard", "Ladder"} and np.isfinite(list(barriers.values())).all()
