"""Networks that are compared: the diverged ones apart, by name."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import data
from asymjax.errors import DivergedError
from asymjax.experiments.linear_connectivity import run
from asymjax.experiments.linear_connectivity.config import PathConfig
from asymjax.experiments.linear_connectivity.strength import measure_strength
from asymjax.experiments.linear_connectivity.table import left_out
from asymjax.experiments.populations import Population, keep_finite
from asymjax.experiments.variants import Variant
from asymjax.lab.recorder import InMemory
from asymjax.lab.run_config import RunConfig
from asymjax.lab.run_files import read_json
from asymjax.lab.rundir import open_run
from asymjax.models import ModelConfig, draw_frozen
from asymjax.symmetry.connectivity import in_batches
from asymjax.train.optimizers import OptimizerConfig


def make_params(count, *broken):
    params = {"a": np.arange(2.0 * count).reshape(count, 2), "b": np.ones((count, 3))}
    for index in broken:
        params["b"][index, 1] = np.nan
    return params


def test_diverged_networks_are_named_and_left_out():
    params = make_params(5, 3)
    kept = keep_finite("w_asym", params, ["0", "1", "2", "3", "4"], {"1": "loss not finite at step 7"})
    assert kept.names == ["0", "2", "4"]
    assert kept.excluded == {"1": "loss not finite at step 7", "3": "parameters are not finite"}
    np.testing.assert_array_equal(kept.params["a"], params["a"][[0, 2, 4]])


def test_finite_networks_are_all_kept():
    params = make_params(3)
    kept = keep_finite("standard", params, ["0", "1", "2"], {})
    assert (kept.names, kept.excluded) == (["0", "1", "2"], {})
    np.testing.assert_array_equal(kept.params["b"], params["b"])


def test_one_network_makes_no_pair():
    with pytest.raises(DivergedError, match="w_asym: 1 of 2 networks are finite") as caught:
        keep_finite("w_asym", make_params(2, 1), ["0", "1"], {})
    assert "seed 1: parameters are not finite" in str(caught.value)


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Return a comparison of two variants on digits, (how one is measured) -> run directory."""
    dataset = data.load("digits")
    variant = Variant(ModelConfig(), OptimizerConfig())
    model = variant.build(dataset)
    population = Population(variant, model, draw_frozen(model, 0), lambda run: None)
    settings = {"data": {"dataset": "digits"}}
    run_config = RunConfig(run_dir=tmp_path / "run", progress=False)
    opened = []

    def open_and_remember(*arguments):
        opened.append(open_run(*arguments))
        return opened[-1]

    monkeypatch.setattr(run, "open_run", open_and_remember)
    populations = {"slow": population, "fast": population}
    yield partial(
        run.compare_populations, "trial", dataset, populations, settings, PathConfig(num_train_rows=64), run_config
    )
    for one in opened:
        one._lock.close()


def test_a_variant_that_diverges_is_set_apart_by_name(compare, capsys):
    def measure(run, name, population, task):
        if name == "fast":
            raise DivergedError("fast: 0 of 2 networks are finite")
        return {"excluded": {}}, {}

    path = compare(measure)
    summary = read_json(path / "summary.json")
    assert list(summary["kinds"]) == ["slow"]
    assert summary["diverged"] == {"fast": "fast: 0 of 2 networks are finite"}
    assert "warning: fast is left out" in capsys.readouterr().err
    assert left_out(summary) == " Excluded: fast, fast: 0 of 2 networks are finite."


def test_a_comparison_of_which_all_diverge_ends(compare):
    def measure(run, name, population, task):
        raise DivergedError(f"{name}: no network is finite")

    with pytest.raises(DivergedError, match="slow: no network is finite; fast: no network is finite"):
        compare(measure)


def test_a_dead_network_is_not_measured_and_named(capsys):
    dataset = data.load("digits")
    variant = Variant(ModelConfig.of(arch="w_asym", widths=(6, 5)), OptimizerConfig())
    model = variant.build(dataset)
    frozen = draw_frozen(model, 0)
    alive = jax.jit(lambda key: model.merge(model.init(key, frozen), frozen))(jax.random.key(0))
    dead = jax.tree.map(jnp.zeros_like, alive)
    networks = jax.tree.map(lambda *leaves: jnp.stack(leaves), dead, alive)
    population = Population(variant, model, frozen, lambda run: None)
    rows = in_batches(dataset.test)
    entry, arrays = measure_strength(InMemory(), "w_asym", population, networks, ["0", "1"], rows)
    assert entry["networks"] == ["1"] and arrays
    told = capsys.readouterr().out
    assert "w_asym: strength of asymmetry of seed 0 is not measured: the inputs of a layer are all the same" in told
    assert measure_strength(InMemory(), "w_asym", population, networks, ["0"], rows) == (None, {})
