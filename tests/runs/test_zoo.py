"""A zoo as a user makes it: the command, its report, and where its networks begin."""

from pathlib import Path

import jax
import numpy as np
import pytest

import asymjax
from asymjax.errors import InputError

RUNS = Path(__file__).parents[2] / "runs"
FLAGS = ["--widths", "4", "--num-epochs", "2", "--min-epochs", "1", "--batch-size", "256", "--no-progress"]


def spread_of(zoo):
    """Return the largest standard deviation of a weight over the networks."""
    return max(float(leaf.std(axis=0).max()) for leaf in jax.tree.leaves(zoo.position))


def test_a_zoo_is_trained_described_and_read(script, tmp_path):
    done = script(RUNS / "zoo.py", *FLAGS, "--num-networks", "40", "--run-dir", tmp_path / "own", draw=True)
    assert done.stderr == "" and "1 to 2 epochs of 4 steps" in done.stdout
    assert all(word in done.stdout for word in ("chance", "learning_rate", "num_epochs", "correlation"))
    assert {"settings.png", "table.md"} <= {file.name for file in (tmp_path / "own" / "figures").iterdir()}
    zoo = asymjax.read_zoo(tmp_path / "own")
    assert zoo.num_networks == 40 and set(zoo.recipes["num_epochs"]) == {1, 2}
    # With steps too small to lead anywhere, networks of a shared start are all where it is.
    sweep = [*FLAGS, "--norm", "none", "--recipe", "drawn", "--learning-rate", "1e-7", "--num-seeds", "40"]
    for start, is_spread in (("own", True), ("shared", False)):
        script(RUNS / "train_sweep.py", *sweep, "--start", start, "--run-dir", tmp_path / f"sweep-{start}")
        assert (spread_of(asymjax.read_zoo(tmp_path / f"sweep-{start}")) > 1e-5) == is_spread
    shared, own = (
        asymjax.read_zoo(tmp_path / f"sweep-{start}").position["output"]["kernel"] for start in ("shared", "own")
    )
    np.testing.assert_allclose(shared, np.broadcast_to(own[0], shared.shape), atol=1e-5)
    assert len(np.unique(shared, axis=0)) == 40  # Recipes and orders are their own.
    done = script(RUNS / "train_sweep.py", *sweep, "--no-keep-weights", "--run-dir", tmp_path / "bare")
    with pytest.raises(InputError, match="kept no weights"):
        asymjax.read_zoo(tmp_path / "bare")
