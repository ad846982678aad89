"""Run directories: what is read, and what is said of those that cannot be."""

import json
import shutil

import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.experiments.posterior.finished import read_run
from asymjax.experiments.posterior.traces import worst_and_median
from asymjax.lab.results import open_results
from asymjax.report.read import labels, read_each


def draws(path, name):
    return open_results(path)[name].values


def test_worst_and_median():
    assert worst_and_median(np.array([1.2, np.nan, np.inf, 1.0, 1.1])) == {"worst": 2, "median": 0}
    assert worst_and_median(np.array([np.inf, 1.0, np.inf])) == {"worst": 2, "median": 0}
    assert worst_and_median(np.array([np.nan, np.nan])) == {}
    assert worst_and_median(np.array([])) == {}


def test_traces_are_the_coordinates_they_name(make_run):
    def edit(summary, diagnostics):
        diagnostics["function_space/rhat"][90 + 3 * 17 + 2] = 1.75  # log probability, input 17, class 2
        diagnostics["weight_space/rhat"][3 + 4] = np.inf  # kernel, entry 4

    path = make_run(edit=edit)
    traces = {trace.label: trace for trace in read_run(path).traces}
    assert len(traces) == 5
    np.testing.assert_array_equal(traces["log density"].values, draws(path, "sample_stats/lp"))
    function = traces["worst R-hat in function space: log probability of class 2, test input 17"]
    logits = draws(path, "posterior_predictive/outputs")[:, :, 17]
    np.testing.assert_allclose(np.exp(function.values), np.exp(logits[..., 2]) / np.exp(logits).sum(axis=-1))
    assert function.statistics["rhat"] == 1.75
    weight = traces["worst R-hat in weight space: dense_0/kernel[1,1]"]
    np.testing.assert_array_equal(weight.values, draws(path, "posterior/dense_0.kernel")[:, :, 1, 1])
    assert weight.statistics["rhat"] == np.inf


@pytest.mark.parametrize(("index", "output"), [(3 * 4 + 1, 1), (90 + 3 * 4 + 1, 4)])
def test_traces_of_a_regression(make_run, index, output):
    path = make_run("regression", edit=lambda summary, diagnostics: diagnostics["function_space/rhat"].put(index, 9))
    (trace,) = [trace for trace in read_run(path).traces if trace.statistics.get("rhat") == 9]
    assert "of target 1, test input 4" in trace.label
    np.testing.assert_array_equal(trace.values, draws(path, "posterior_predictive/outputs")[:, :, 4, output])


def test_regression_with_known_noise_has_no_noise_coordinates(make_run):
    def edit(summary, diagnostics):
        for name in ("rhat", "ess_bulk", "ess_tail"):
            diagnostics[f"function_space/{name}"] = diagnostics[f"function_space/{name}"][:90]
        diagnostics["function_space/rhat"][89] = 9

    path = make_run("regression", edit=edit)
    record = json.loads((path / "config.json").read_text())
    record["config"]["posterior"]["noise"] = "fixed"
    (path / "config.json").write_text(json.dumps(record))
    assert read_run(path).traces[1].label.endswith("mean of target 2, test input 29")


def test_labels_tell_runs_apart_and_nothing_else(make_run):
    alone, wide = make_run(), make_run(arch="w_asym", num_fixed=[8], mask_seed=1)
    plain = make_run(num_fixed=[], mask_seed=0)
    assert labels(read_each([alone], read_run)) == ["standard"]
    assert labels(read_each([plain, wide], read_run)) == ["standard, mask_seed 0", "w_asym, num_fixed 8, mask_seed 1"]


CHUNKS = [
    "diagnostics/function_space/rhat/c/0",
    "predictions/targets/c/0",
    "sample_stats/lp/c/0/1",
    "posterior_predictive/outputs/c/0/1/0/0",
]


@pytest.mark.parametrize("name", ["config.json", "summary.json", *(f"results.zarr/{chunk}" for chunk in CHUNKS)])
def test_missing_files_are_named(make_run, name):
    path = make_run()
    (path / name).unlink()
    with pytest.raises(InputError) as caught:
        read_run(path)
    assert str(path) in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x81", b"{", b"PK\x03\x04 cut"])
@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_damaged_files_are_named(make_run, name, content):
    path = make_run()
    (path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{path / name} is damaged"):
        read_run(path)


@pytest.mark.parametrize("keep", [0, 0.2, 0.9])
@pytest.mark.parametrize("name", CHUNKS)
def test_arrays_whose_files_are_cut_short_are_named(make_run, name, keep):
    path = make_run()
    file = path / "results.zarr" / name
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=f"{name.partition('/c/')[0]} is damaged"):
        read_run(path)


def test_results_are_missing(make_run):
    path = make_run()
    shutil.rmtree(path / "results.zarr")
    with pytest.raises(InputError, match=r"results.zarr does not exist"):
        read_run(path)


def test_files_of_something_else(make_run):
    path = make_run(edit=lambda summary, diagnostics: summary.pop("sampler"))
    with pytest.raises(InputError, match=r"summary.json lacks sampler; was it written by this version"):
        read_run(path)
    path = make_run(edit=lambda summary, diagnostics: diagnostics.pop("weight_space/ess_tail"))
    with pytest.raises(InputError, match=r"results.zarr/diagnostics lacks weight_space/ess_tail"):
        read_run(path)


@pytest.mark.parametrize(
    ("file", "names", "value", "message"),
    [
        ("summary.json", ("test",), None, "is edited, or of another version"),
        ("config.json", ("config",), [], "config.json is damaged: config is \\[\\]; restore it"),
        ("config.json", ("experiment",), ["a"], "config.json is damaged: experiment is "),
        ("config.json", ("provenance",), None, "config.json is damaged: provenance is None"),
        ("config.json", ("config", "posterior"), 3, "is edited, or of another version"),
    ],
)
def test_entries_that_are_edited_are_named(make_run, file, names, value, message):
    path = make_run("regression")
    content = json.loads((path / file).read_text())
    *above, last = names
    entry = content
    for name in above:
        entry = entry[name]
    entry[last] = value
    (path / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_each([path], read_run)


def test_all_broken_runs_are_named(make_run, tmp_path):
    good, unfinished, damaged = make_run(), make_run(arch="w_asym"), make_run(arch="syre")
    (unfinished / "DONE").unlink()
    (damaged / "summary.json").write_text("{")
    with pytest.raises(InputError) as caught:
        read_each([good, unfinished, tmp_path / "nowhere", damaged], read_run)
    message = str(caught.value)
    assert str(good) not in message
    assert f"{unfinished} is not finished (there is no DONE); run its command again" in message
    assert "bnn_hmc.py --arch w_asym" in message
    assert f"{tmp_path / 'nowhere'} is not a run directory" in message
    assert f"{damaged / 'summary.json'} is damaged" in message
