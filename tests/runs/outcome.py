"""What must not depend on interruptions of a run."""

import json

import numpy as np

from asymjax import results


def outcome(path):
    """Return what must not depend on interruptions: draws, metrics, summary without seconds."""
    draws = {file.name: results.read_arrays(file) for file in sorted((path / "draws").iterdir())}
    metrics = [{name: line[name] for name in line.keys() - {"seconds"}} for line in results.read_metrics(path)]
    summary = results.read_json(path / "summary.json")
    seconds = summary.pop("seconds")
    return draws, metrics, summary, seconds


def assert_same_outcome(path, expected_path):
    (draws, metrics, summary, _), (expected, *rest, _) = outcome(path), outcome(expected_path)
    assert draws.keys() == expected.keys()
    for file, arrays in expected.items():
        assert arrays.keys() == draws[file].keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(draws[file][name], array, err_msg=f"{file} {name}")
    # As text, in which NaN is equal to NaN.
    assert json.dumps([metrics, summary], indent=1) == json.dumps(rest, indent=1)
