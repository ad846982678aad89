"""What is said before work is spent on data that a likelihood does not suit."""

import numpy as np
import pytest

from asymjax import data
from asymjax.experiments.posterior.run import warn_of_few_values
from asymjax.inference.posterior import PosteriorConfig
from asymjax.types import Split


def with_targets(dataset, targets):
    targets = np.asarray(targets, np.float32)[:, None]
    return dataset._replace(train=Split(dataset.train.inputs[: len(targets)], targets))


@pytest.mark.parametrize("noise", ["heteroscedastic", "learned"])
def test_targets_with_few_values_are_named(noise):
    repeated = with_targets(data.load("diabetes"), np.arange(200) % 6)
    assert "targets take 6 values in 200 rows" in warn_of_few_values(repeated, PosteriorConfig(noise=noise))


def test_other_targets_are_not():
    dataset = data.load("diabetes")
    assert warn_of_few_values(dataset, PosteriorConfig()) == ""
    assert warn_of_few_values(with_targets(dataset, np.arange(200) % 6), PosteriorConfig(noise="fixed")) == ""
    assert warn_of_few_values(with_targets(dataset, np.arange(30) % 6), PosteriorConfig()) == ""
    assert warn_of_few_values(data.load("digits"), PosteriorConfig()) == ""
