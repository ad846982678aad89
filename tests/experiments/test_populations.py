"""Networks that are compared: the diverged ones apart, by name."""

import numpy as np
import pytest

from asymjax.errors import DivergedError
from asymjax.experiments.populations import keep_finite


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
