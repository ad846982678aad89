"""Sigma-asymmetric networks: a gate through a frozen matrix replaces the activation.

FiGLU, sigma(x) = sigmoid(F x) * x with F Gaussian and frozen, one F an activation site (Lim et al. 2024, section 4.2).
On images F acts on the channels of each pixel, a 1x1 convolution; in a recurrent layer it is the same F in every step.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng
from asymjax.models.methods.method import Activation, Constants, Method
from asymjax.settings import NonNegative
from asymjax.types import Array, Key


def figlu(x: Array, gate: Array, feature_axis: int = -1) -> Array:
    """Return sigmoid(F x) * x along ``feature_axis``, with F the transpose of ``gate`` [width, width]."""
    if feature_axis == 0:
        return jax.nn.sigmoid(lax.dot_general(gate, x, (((0,), (0,)), ((), ())))) * x
    return jax.nn.sigmoid(jnp.matmul(x, gate)) * x


@dataclass(frozen=True)
class SigmaAsym(Method):
    """Gates in place of activations.

    Examples
    --------
    >>> import jax, asymjax
    >>> method = asymjax.SigmaAsym(gate_scale=0.5)
    >>> method.freeze_gate(jax.random.key(0), 4, 1.0)["gate"].shape
    (4, 4)
    """

    note: ClassVar[str] = (
        "Gates tell units apart and pin their scales (proposition 2); what a norm undoes before the gate remains."
    )

    gate_scale: NonNegative | Literal["inv_sqrt"] = "inv_sqrt"
    """Standard deviation of the entries of the gate matrices; inv_sqrt is 1 / sqrt(width), with which gates are as soft
    at every width. With 1 they are on or off, the more so the wider the layer."""

    def freeze_gate(self, key: Key, width: int, fixed_scale: Any) -> Constants:
        """Draw the gate matrix of one site.

        Returns
        -------
        ``{"gate": float32 [width, width]}``, indexed (input feature, output feature); entries have standard deviation
        fixed_scale * ``gate_scale``.
        """
        scale = width**-0.5 if self.gate_scale == "inv_sqrt" else self.gate_scale
        return {"gate": fixed_scale * scale * rng.normal(key, (width, width))}

    def activate(self, activation: Activation, x: Array, gate: Constants | None, feature_axis: int) -> Array:
        """Gate ``x``; the backbone's own activation is not used."""
        assert gate is not None
        return figlu(x, gate["gate"], feature_axis)
