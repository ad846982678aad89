"""Draws of a posterior as a zoo: its blocks, what is refused, and which chain a draw is of; runs/ has those of runs."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from draws import write_draws

import asymjax
from asymjax import trees
from asymjax.errors import InputError
from asymjax.experiments.zoo.draws import blocks
from asymjax.inference.posterior import PosteriorConfig
from asymjax.lab import results, run_files
from asymjax.metanets import split
from asymjax.models import ModelConfig, draw_frozen

RUNS = Path(__file__).parents[2] / "runs"
CHAINS, DRAWS, TARGETS = 2, 80, np.arange(12) % 3


def make_posterior(path, num_draws=DRAWS, has_weights=True):
    """Write a finished posterior of a classifier, whose draws are standard normal numbers; return path and draws."""
    config = ModelConfig.of("standard", widths=(4,), norm="none")
    model, numbers = config.build((5,), 3), np.random.default_rng(0)
    like = jax.eval_shape(model.init, jax.random.key(0), draw_frozen(model, 0))
    shape = (CHAINS, num_draws)
    position = jax.tree.map(lambda leaf: numbers.normal(size=(*shape, *leaf.shape)).astype(np.float32), like)
    outputs = numbers.normal(size=(*shape, len(TARGETS) + 2, 3)).astype(np.float32)  # Two rows of noise.
    draws = {"logdensity": numbers.normal(size=shape), "outputs": outputs}
    if has_weights:
        draws |= {f"position/{name}": leaf for name, leaf in trees.flatten(position).items()}
    path.mkdir()
    write_draws(path, [draws])
    results.write_arrays(path, {"predictions/targets": (("test_input",), TARGETS)})
    settings = {"model": config.record(), "data": {}, "posterior": PosteriorConfig().as_dict()}
    provenance = {"command": ["bnn_hmc.py"], "commit": "0123", "uncommitted_changes": False, "device": {}}
    checksums = {"frozen": trees.checksum(draw_frozen(model, config.mask_seed))}
    record = {"experiment": "bnn_hmc", "config": settings, "provenance": provenance, "checksums": checksums}
    moments = {"input_mean": [0] * 5, "input_scale": [1] * 5, "target_mean": 0, "target_scale": 1}
    summary = {"data": {"input_shape": [5], "num_outputs": 3} | moments, "task": "classification", "dataset": "none"}
    (path / "config.json").write_text(run_files.dumps(record))
    (path / "summary.json").write_text(run_files.dumps(summary))
    (path / "DONE").touch()
    return path, position, outputs


def test_networks_are_the_draws_chain_after_chain(tmp_path):
    path, position, outputs = make_posterior(tmp_path / "run")
    zoo = asymjax.read_zoo(path)
    assert zoo.num_networks == CHAINS * DRAWS and zoo.excluded == {} and zoo.recipes == {}
    jax.tree.map(lambda leaf, kept: np.testing.assert_array_equal(leaf[DRAWS + 7], kept[1, 7]), zoo.position, position)
    np.testing.assert_array_equal(zoo.target("chain"), np.repeat([0, 1], DRAWS))
    logs = np.asarray(jax.nn.log_softmax(outputs[1, 7, : len(TARGETS)]))
    density = logs[np.arange(len(TARGETS)), TARGETS].mean()
    assert zoo.target("test.log_density")[DRAWS + 7] == pytest.approx(density, rel=1e-5)
    assert zoo.target("test.accuracy")[DRAWS + 7] == pytest.approx(np.mean(logs.argmax(1) == TARGETS))
    assert zoo.scores.keys() == {"test.log_density", "test.accuracy"}


def test_a_block_is_consecutive_draws_and_that_of_all_chains(tmp_path):
    ids = asymjax.read_zoo(make_posterior(tmp_path / "run")[0]).ids.reshape(CHAINS, DRAWS)
    np.testing.assert_array_equal(ids, [np.repeat(np.arange(40), 2)] * CHAINS)
    assert set(np.diff(blocks(811))) == {0, 1} and set(np.bincount(blocks(811))) == {20, 21}
    chain = np.repeat(np.arange(CHAINS), DRAWS)
    for part in split(ids.ravel()):
        assert len(set(np.bincount(chain[part]))) == 1


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"num_draws": 79}, "has 79 draws a chain; a zoo takes 80 at least, sample more"),
        ({"has_weights": False}, "kept no weights .*sample it again with --keep weights"),
    ],
)
def test_few_draws_and_draws_without_weights_are_refused(tmp_path, made, message):
    path = make_posterior(tmp_path / "run", **made)[0]
    with pytest.raises(InputError, match=message):
        asymjax.read_zoo(path)


def test_a_grid_and_an_unfinished_run_are_refused(tmp_path):
    path = make_posterior(tmp_path / "run")[0]
    record = json.loads((path / "config.json").read_text())
    record["config"]["grid"] = ["prior_scale=1,2"]
    (path / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="of a grid one in it"):
        asymjax.read_zoo(path)
    (path / "DONE").unlink()
    with pytest.raises(InputError, match="is not finished"):
        asymjax.read_zoo(path)


@pytest.mark.long
def test_the_command_tells_chains(script, tmp_path):
    posterior = make_posterior(tmp_path / "zoo")[0]
    words = ["--zoo", posterior, "--target", "chain", "--metanets", "ridge", "statnn,widths=8", "--batch-size", "16"]
    words += ["--num-epochs", "2", "--learning-rates", "0.01", "--num-trials", "1", "--num-seeds", "3", "--no-progress"]
    done = script(RUNS / "metanet.py", *words, "--run-dir", tmp_path / "run", draw=True)
    assert done.stderr == "" and "ridge, 80 training networks: accuracy " in done.stdout
    assert "standard: told beyond chance, 0.500, by" in done.stdout and "nan" not in done.stdout
    summary = run_files.read_json(tmp_path / "run" / "summary.json")
    assert summary["zoos"]["standard"]["target"] == {"num_classes": 2, "chance": 0.5, "num_blocks": 10}
    cells = {cell["metanet"]: cell for cell in summary["cells"]}
    found = results.read_arrays(tmp_path / "run", "predictions/")["predictions/standard/statnn,widths=8/80"]
    assert found.shape == (3, CHAINS * DRAWS, CHAINS)
    zoo = asymjax.read_zoo(posterior)
    part, chain = split(zoo.ids).test, zoo.target("chain")
    right = np.argmax(found, axis=-1)[:, part] == chain[part]
    scores = cells["statnn,widths=8"]["scores"]["accuracy"]
    np.testing.assert_allclose(scores["values"], right.mean(axis=1))
    assert scores["mean"] == pytest.approx(right.mean()) and scores["low"] <= scores["mean"] <= scores["high"]
    assert (tmp_path / "run" / "figures" / "order.png").exists()
