"""What must not depend on interruptions of a run, nor on how many processes and devices it had."""

import json

import numpy as np

from asymjax.lab import run_files
from asymjax.lab.results import RESULTS, open_results

COUNTS = {"num_pairs", "num_points"}


def without_chunks(metrics):
    """Leave of the lines that only count the last of each phase: which there are follows the devices at the start."""
    last = {line["phase"]: {name: line[name] for name in line.keys() - {"chunk"}} for line in metrics}
    counting = {phase for phase, line in last.items() if line.keys() & COUNTS}
    return [line for line in metrics if line["phase"] not in counting] + [last[phase] for phase in sorted(counting)]


def outcome(path):
    """Return what must not depend on interruptions: arrays, and metrics and summary without seconds as text."""
    nodes = open_results(path).subtree if (path / RESULTS).exists() else ()
    arrays = {f"{node.path}/{name}": array.values for node in nodes for name, array in node.variables.items()}
    metrics = [{name: line[name] for name in line.keys() - {"seconds"}} for line in run_files.read_metrics(path)]
    summary = run_files.read_json(path / "summary.json")
    summary.pop("seconds")
    text = json.dumps([without_chunks(metrics), summary], indent=1, sort_keys=True)  # In it NaN is equal to NaN.
    return arrays, text


def assert_same_outcome(path, expected_path):
    """Compare the outcomes of two runs to the last bit."""
    (arrays, text), (expected, expected_text) = outcome(path), outcome(expected_path)
    assert arrays.keys() == expected.keys() and arrays
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert text == expected_text
