"""Averages over permutations: against sums over all elements, and on their own side of them where they are bounds."""

import math
from functools import cache, partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import binom

from asymjax.errors import InputError
from asymjax.symmetry import all_permutations, averages
from asymjax.symmetry.averages import (
    AVERAGES,
    MAX_EXACT_UNITS,
    bethe_average,
    bethe_ceiling,
    centred_average,
    exact_average,
    log_order,
    signed,
)

ROUNDING = 1e-11  # Of float64, in sums of up to 720 terms of about 100 in size.
MAX_STANDARD_ERRORS = 5
FALSE_ALARM_RATE = 1.4e-5  # Normal tails at five standard errors (5.7e-7 on both sides), 23 comparisons.
NUM_DRAWS = 2000


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def log_density(units, means):
    """Return the log density of unit i under factor j, Gaussians of scale one; the last axis is what a unit has."""
    squares = jnp.sum(jnp.square(units[..., :, None, :] - means[..., None, :, :]), -1)
    return -0.5 * squares - 0.5 * units.shape[-1] * math.log(2 * math.pi)


def units_of_factors(num_matrices, num_units, num_entries, separation, seed=0):
    """Return matrices of units drawn from their own factors, whose means are drawn for every matrix."""
    numbers = np.random.default_rng(seed)
    shape = (num_matrices, num_units, num_entries)
    means = separation * numbers.normal(size=shape)
    return np.asarray(log_density(means + numbers.normal(size=shape), means))


def by_listing(logs):
    """Return the average over all permutations, of matrices [..., units, units]."""
    num_units = logs.shape[-1]
    elements = all_permutations(num_units)
    scores = np.sum(logs[..., np.arange(num_units), elements], axis=-1)
    return logsumexp(scores, axis=-1) - np.log(len(elements))


@cache
def each(average):
    return jax.jit(jax.vmap(average))


@cache
def of(name, num_elements):
    return partial(AVERAGES[name], num_elements=num_elements)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def own(logs):
    return np.trace(logs, axis1=-2, axis2=-1)


def information(average, logs):
    """Return what is estimated of every matrix."""
    return own(logs) - np.asarray(each(average)(keys(len(logs)), logs))


def deviation(values, expected=0.0):
    """Return how many standard errors the mean of independent values is above what is expected."""
    return (np.mean(values) - expected) / (np.std(values) / math.sqrt(len(values)))


# The average itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_units", range(1, 7))
def test_exact_average_is_that_over_all_permutations(num_units):
    numbers = np.random.default_rng(num_units)
    logs = numbers.normal(size=(30, num_units, num_units)) * np.repeat([0.1, 3.0, 30.0], 10)[:, None, None]
    np.testing.assert_allclose(each(exact_average)(logs), by_listing(logs), atol=ROUNDING, rtol=ROUNDING)


def test_exact_average_over_signs_too_is_that_over_all_signed_permutations():
    numbers = np.random.default_rng(4)
    units, means = numbers.normal(size=(2, 4, 3))
    logs, negated = np.asarray(log_density(units, means)), np.asarray(log_density(-units, means))
    signs = np.stack(np.meshgrid(*[[0, 1]] * 4), axis=-1).reshape(-1, 4)
    scores = [
        sum((negated if sign[i] else logs)[i, element[i]] for i in range(4))
        for sign in signs
        for element in all_permutations(4)
    ]
    assert len(scores) == 24 * 16
    found = exact_average(signed(jnp.asarray(logs), jnp.asarray(negated)))
    np.testing.assert_allclose(found, logsumexp(scores) - np.log(len(scores)), atol=ROUNDING)


def test_exact_average_is_the_same_after_any_permutation_of_units():
    logs = units_of_factors(1, 5, 2, 1.0)[0]
    permuted = logs[all_permutations(5)]
    np.testing.assert_allclose(each(exact_average)(permuted), by_listing(logs), atol=ROUNDING)


def test_gradient_of_the_exact_average_is_that_of_differences():
    logs, step = units_of_factors(1, 4, 2, 1.0)[0], 1e-4
    changes = step * np.eye(16).reshape(16, 4, 4)
    differences = (by_listing(logs + changes) - by_listing(logs - changes)) / (2 * step)
    gradient = jax.jit(jax.grad(exact_average))(logs)
    # Third derivatives of a log average of exponentials of one entry are at most 1 / 6 or so; steps squared are 1e-8.
    np.testing.assert_allclose(gradient.ravel(), differences, atol=step**2)


def test_exact_average_refuses_too_many_units():
    with pytest.raises(InputError, match="21 units are too many"):
        exact_average(jnp.zeros((MAX_EXACT_UNITS + 1,) * 2))


# The Bethe permanent ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[(3, 2, 1.0, 0.46), (5, 3, 0.5, 1.10), (5, 3, 1.0, 0.78), (7, 10, 1.0, 0.12)])
def bethe(request):
    """Matrices, averages, their bounds with gradients, and the mean gap of other matrices of this kind."""
    *setting, gap = request.param
    logs = units_of_factors(60, *setting)
    value, gradient = each(jax.value_and_grad(bethe_average))(logs)
    return logs, by_listing(logs), np.asarray(value), np.asarray(gradient), gap


def test_bethe_average_is_below_the_average_by_half_a_log_of_two_a_unit_at_most(bethe):
    logs, exact, value, _, expected = bethe
    gap = exact - value
    # Beliefs are off by 1e-5 where messages have not settled, and the value by that times a log of them.
    assert np.all(gap > -1e-4) and np.all(gap < 0.5 * logs.shape[-1] * np.log(2))
    # The expected mean is that of 50 matrices or so, so that the difference of two is off by sqrt(2) errors of one.
    assert abs(deviation(gap, expected)) < MAX_STANDARD_ERRORS * math.sqrt(2)


def test_gradient_of_the_bethe_average_is_doubly_stochastic_and_that_of_differences(bethe):
    logs, _, _, beliefs, _ = bethe
    for axis in (1, 2):
        np.testing.assert_allclose(beliefs.sum(axis), 1, atol=1e-5)
    step = 1e-4
    changes = step * np.random.default_rng(2).normal(size=logs.shape)
    forth, back = each(bethe_average)(logs + changes), each(bethe_average)(logs - changes)
    differences = (np.asarray(forth) - np.asarray(back)) / (2 * step)
    along = np.sum(beliefs * changes, axis=(1, 2)) / step
    # Near ties of two assignments messages take longer than the sweeps that there are.
    errors = np.abs(along - differences)
    assert np.mean(errors < 1e-3) > 0.9 and np.max(errors) < 0.1


def test_the_ceiling_is_above_the_average_and_the_share_of_the_identity(bethe):
    logs, exact, *_ = bethe
    ceiling, share = each(bethe_ceiling)(logs), np.trace(logs, axis1=1, axis2=2) - math.lgamma(logs.shape[1] + 1)
    assert np.all(ceiling > exact - 1e-6) and np.all(ceiling >= share)


@pytest.mark.parametrize("num_units", [2, 3, 8])
def test_bethe_average_where_no_assignment_is_better_than_another(num_units):
    draw = np.random.default_rng(3)
    of_units, of_factors = 10 * draw.normal(size=(2, num_units))
    with jax.enable_x64(True):
        value = bethe_average(of_units[:, None] + of_factors[None])
        of_ones = bethe_average(np.zeros((num_units, num_units)))
    np.testing.assert_allclose(value - of_ones, of_units.sum() + of_factors.sum(), rtol=1e-6)


def test_the_ceiling_of_one_unit_is_its_own():
    assert float(bethe_ceiling(np.full((1, 1), -3.5))) == -3.5


@pytest.mark.parametrize("scale", [30.0, 300.0])
def test_bethe_average_of_logs_far_apart_is_near_the_average(scale):
    logs = scale * np.random.default_rng(0).normal(size=(60, 5, 5))
    gap = by_listing(logs) - np.asarray(each(bethe_average)(logs))
    assert np.all(gap > -1e-7) and np.all(gap < 2.5 * np.log(2))


# Bounds by random elements ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[1.0, 0.5])
def drawn(request):
    """Matrices, means drawn for each, and their information."""
    logs = units_of_factors(NUM_DRAWS, 5, 3, request.param)
    return logs, own(logs) - by_listing(logs)


@pytest.mark.parametrize("name", ["infonce", "centred"])
def test_bounds_by_random_elements_are_below_the_information_and_grow_with_their_number(name, drawn):
    logs, exact = drawn
    few, many = (information(of(name, num_elements), logs) for num_elements in (8, 32))
    assert deviation(exact - many) > -MAX_STANDARD_ERRORS
    assert deviation(many - few) > MAX_STANDARD_ERRORS


def test_centred_elements_without_the_identity_are_unbiased_and_no_bound(drawn):
    logs, exact = drawn
    with mock.patch.object(averages, "_with_identity", lambda elements: elements):
        biased = information(lambda key, logs: centred_average(key, logs, 9), logs) - math.log(9 / 8)
    assert abs(deviation(np.exp(exact - biased), 1.0)) < MAX_STANDARD_ERRORS
    assert deviation(biased - exact) > MAX_STANDARD_ERRORS


def test_one_uniform_element_says_nothing(drawn):
    logs = drawn[0]
    np.testing.assert_allclose(information(of("infonce", 1), logs), 0, atol=ROUNDING)


@pytest.mark.parametrize("name", ["infonce", "exact"])
def test_identical_units_have_no_information_in_any_draw(name):
    logs = np.repeat(np.random.default_rng(3).normal(size=(50, 5, 1)), 5, axis=2)
    found = information(of(name, 8), logs)
    np.testing.assert_allclose(found, 0, atol=ROUNDING)


def test_centred_elements_find_no_information_in_identical_units():
    found = information(of("centred", 8), np.zeros((NUM_DRAWS, 5, 5)))
    assert deviation(found) < MAX_STANDARD_ERRORS


@pytest.mark.parametrize("num_elements", [8, 32])
def test_information_of_units_far_apart_is_that_of_the_identities_drawn(num_elements):
    logs = np.broadcast_to(np.where(np.eye(3) == 1, 0.0, -1e4), (NUM_DRAWS, 3, 3))
    found = information(of("infonce", num_elements), logs)
    others = np.arange(num_elements)
    identities = binom.pmf(others, num_elements - 1, 1 / 6)
    assert abs(deviation(found, math.log(num_elements) - identities @ np.log(1 + others))) < MAX_STANDARD_ERRORS
    exact = np.trace(logs[0]) - exact_average(logs[0])
    np.testing.assert_allclose(exact, log_order(3), atol=ROUNDING)


# Gradients that a fit follows ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=AVERAGES)
def pushes(request):
    """Return a function of means [units, entries]: gradients of the information with respect to them, of many draws."""
    average = of(request.param, 16)

    def added(means, noise, key):
        logs = log_density(means + noise, means)
        return jnp.trace(logs) - average(key, logs)

    gradients = jax.jit(jax.vmap(jax.grad(added), (None, 0, 0)))
    noise = np.random.default_rng(5).normal(size=(NUM_DRAWS, 3, 2))
    return lambda means: np.asarray(gradients(means, noise, keys(NUM_DRAWS)))


def test_information_pushes_units_apart_that_overlap_and_leaves_alone_one_that_does_not(pushes):
    gradients = pushes(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 20.0]]))
    # Units 20 apart overlap by exp(-20^2 / 4), 1e-44, and by exp(-20 (20 - 2 * 5)) in draws at five deviations.
    np.testing.assert_allclose(gradients[:, 2], 0, atol=1e-9)
    assert deviation(gradients[:, 1, 0] - gradients[:, 0, 0]) > MAX_STANDARD_ERRORS
