"""A linear model with a closed-form posterior, and draws measured against what they should be."""

from typing import NamedTuple

import numpy as np
from model_of import model_of
from scipy.stats import norm

from asymjax.diagnostics.convergence import per_coordinate
from asymjax.inference.posterior import PosteriorConfig
from asymjax.models import draw_frozen
from asymjax.types import Split

NUM_ROWS, NUM_TEST, NUM_INPUTS, NUM_FIXED = 40, 20, 5, 2
NOISE_SCALE, PRIOR_SCALE = 0.6, 0.8


class Answer(NamedTuple):
    mean: np.ndarray
    covariance: np.ndarray
    lppd: float


def make_data():
    numbers = np.random.default_rng(1)
    inputs = numbers.normal(size=(NUM_ROWS + NUM_TEST, NUM_INPUTS)) @ numbers.normal(size=(NUM_INPUTS, NUM_INPUTS))
    targets = inputs @ numbers.normal(size=(NUM_INPUTS, 1)) + 0.5 + numbers.normal(size=(len(inputs), 1))
    rows = Split(inputs.astype(np.float32), targets.astype(np.float32))
    return Split(*(leaf[:NUM_ROWS] for leaf in rows)), Split(*(leaf[NUM_ROWS:] for leaf in rows))


TRAIN, TEST = make_data()


def linear_problem(arch, temperature, prior_scale=PRIOR_SCALE, mask_seed=0):
    model = model_of(arch, widths=(), activation="identity", num_fixed=(NUM_FIXED,)).build((NUM_INPUTS,), 1)
    config = PosteriorConfig(
        prior="isotropic",
        prior_scale=prior_scale,
        output_prior_scale=1.0,
        noise="fixed",
        noise_scale=NOISE_SCALE,
        temperature=temperature,
    )
    return config.of(model, "regression", draw_frozen(model, mask_seed), TRAIN)


def solve(frozen, temperature, prior_scale=PRIOR_SCALE):
    """Return posterior mean and covariance of (bias, free coefficients) and the log predictive density."""
    constants = frozen.get("output", {}).get("kernel")
    free = np.arange(NUM_INPUTS) if constants is None else np.asarray(constants["free_index"])
    fixed = np.zeros((NUM_INPUTS, 1)) if constants is None else np.asarray(constants["fixed_value"], np.float64)

    def affine(rows):
        inputs = rows.inputs.astype(np.float64)
        design = np.concatenate([np.ones((len(inputs), 1)), inputs[:, free]], axis=1)
        return design, (rows.targets - inputs @ fixed)[:, 0]

    design, residual = affine(TRAIN)
    precision = design.T @ design / NOISE_SCALE**2 + np.eye(design.shape[1]) / prior_scale**2
    mean = np.linalg.solve(precision, design.T @ residual / NOISE_SCALE**2)
    covariance = temperature * np.linalg.inv(precision)
    design, residual = affine(TEST)
    variance = np.einsum("ri,ij,rj->r", design, covariance, design) + NOISE_SCALE**2
    return Answer(mean, covariance, norm.logpdf(residual, design @ mean, np.sqrt(variance)).sum())


def errors(series, expected):
    """Return by how much the means of [chain, draw, ...] miss what they should be, and their standard errors."""
    ess = per_coordinate(series)["ess_bulk"]
    return series.mean((0, 1)) - expected, series.std((0, 1)) / np.sqrt(ess)
