"""The tests of calibration notice a broken sampler; the whole command runs when asked for (``--run-long``)."""

import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from calibration_checks import (
    FALSE_ALARM_RATE,
    NUM_BINS,
    Size,
    calibrate,
    geweke_z,
    make_case,
    rank_p_values,
    too_flat,
)
from sampler_table import make_algorithm
from scipy.stats import norm

from asymjax import trees
from asymjax.inference.samplers.hmc import Tuned

SMALL = Size(num_simulations=100, num_warmup=200, num_draws=1500, num_lanes=200, num_transitions=15)


BROKEN = too_flat(make_algorithm("hmc", num_warmup=SMALL.num_warmup))


def test_a_density_that_is_too_flat_is_noticed_by_the_joint_test():
    shape = make_case().shape
    tuned = Tuned(jnp.asarray(0.1), jnp.ones(trees.num_entries(shape)), jnp.asarray(1.0))
    z = geweke_z(BROKEN, tuned, 1, SMALL)
    assert (2 * norm.sf(abs(z))).min() < FALSE_ALARM_RATE / len(z)


@pytest.mark.long
def test_a_density_that_is_too_flat_is_noticed_by_the_ranks():
    truth, draws, _ = calibrate(BROKEN, 1, SMALL)
    p_values, num_ranked = rank_p_values(truth, draws)
    assert num_ranked > NUM_BINS and p_values.min() < FALSE_ALARM_RATE / len(p_values)


@pytest.mark.long
def test_all_exact_samplers_are_calibrated():
    command = Path(__file__).with_name("calibration.py")
    assert subprocess.run([sys.executable, command], check=False).returncode == 0
