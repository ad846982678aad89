"""Sigma-asymmetric networks: a gate through a frozen matrix replaces the activation.

FiGLU, sigma(x) = sigmoid(F x) * x with F Gaussian and frozen, one F an activation site (Lim et al. 2024, section 4.2).
On images F acts on the channels of each pixel, a 1x1 convolution; in a recurrent layer it is the same F in every step.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng
from asymjax.config import ModelConfig
from asymjax.models.asymmetry.method import Activation, Constants, Method
from asymjax.types import Array, Key


def freeze_gate(key: Key, config: ModelConfig, width: int, fixed_scale: Any) -> Constants:
    """Draw the gate matrix of one site.

    Returns
    -------
    ``{"gate": float32 [width, width]}``, indexed (input feature, output feature); entries have standard deviation
    fixed_scale * ``config.gate_scale``, where "inv_sqrt" stands for 1 / sqrt(width).
    """
    scale = width**-0.5 if config.gate_scale == "inv_sqrt" else config.gate_scale
    return {"gate": fixed_scale * scale * rng.normal(key, (width, width))}


def figlu(x: Array, gate: Array, feature_axis: int = -1) -> Array:
    """Return sigmoid(F x) * x along ``feature_axis``, with F the transpose of ``gate`` [width, width]."""
    if feature_axis == 0:
        return jax.nn.sigmoid(lax.dot_general(gate, x, (((0,), (0,)), ((), ())))) * x
    return jax.nn.sigmoid(jnp.matmul(x, gate)) * x


def activate(activation: Activation, x: Array, gate: Constants | None, feature_axis: int) -> Array:
    """Gate ``x``; the backbone's own activation is not used."""
    assert gate is not None
    return figlu(x, gate["gate"], feature_axis)


METHOD = Method(
    freeze_gate=freeze_gate,
    activate=activate,
    note="Gates tell units apart and pin their scales (proposition 2); what a norm undoes before the gate remains.",
)
