"""Recurrent network: an image is a sequence of its rows, read by layers of gated recurrent units; then a linear map.

Cho et al. (2014), arXiv 1406.1078, equations 5 to 8: with reset gates r, update gates z and an activation phi,

    r_t = sigmoid(x_t W_r + h_{t-1} U_r + b_r)        c_t = phi(x_t W_c + (r_t * h_{t-1}) U_c + b_c)
    z_t = sigmoid(x_t W_z + h_{t-1} U_z + b_z)        h_t = z_t * h_{t-1} + (1 - z_t) * c_t

A method's activation hook acts at phi, tanh in the paper: it is where a unit gets its content, while both sigmoids say
only how much of it is kept. A LayerNorm stands before phi, and bounds the states whatever phi is. Each gate has kernels
of its own, since a permutation of units acts on the columns of each, and on the rows of every U.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from asymjax.errors import InputError
from asymjax.models.backbones.backbone import ActivationHook, Layered, bias_init, kernel_init
from asymjax.types import Array, Feeds, PermutationSpec

# In the order in which a compiled loop returns its parameters, so that those outside come in the same order.
GATES = ("candidate", "reset", "update")


class GRU(nn.Module):
    """A layer of gated recurrent units.

    Attributes
    ----------
    width : number of units.
    norm : ``"none"``, or ``"layer"`` for a LayerNorm of the candidate before its activation.
    activation : hook called at the site ``NAME/act`` in every step.
    """

    width: int
    norm: str
    activation: ActivationHook

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map sequences x [rows, steps, features] to states [rows, steps, width], from a state of zero."""
        dense = partial(nn.Dense, self.width, kernel_init=kernel_init)
        inputs = {gate: dense(bias_init=bias_init(x.shape[-1]), name=f"{gate}_input")(x) for gate in GATES}

        def step(layer: "GRU", state: Array, inputs: dict[str, Array]) -> tuple[Array, Array]:
            recurrent = {gate: dense(use_bias=False, name=f"{gate}_recurrent") for gate in GATES}
            reset = jax.nn.sigmoid(inputs["reset"] + recurrent["reset"](state))
            update = jax.nn.sigmoid(inputs["update"] + recurrent["update"](state))
            candidate = inputs["candidate"] + recurrent["candidate"](reset * state)
            if layer.norm == "layer":
                candidate = nn.LayerNorm(name="norm")(candidate)
            candidate = layer.activation(f"{layer.name}/act", candidate, -1)
            state = update * state + (1 - update) * candidate
            return state, state

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        return scan(self, jnp.zeros_like(inputs["candidate"][:, 0]), inputs)[1]


class RNNModule(nn.Module):
    """Recurrent network on the rows of images, from top to bottom.

    Attributes
    ----------
    widths : units of each layer; a layer reads the states of the one before.
    num_outputs : outputs of the last, linear layer, which reads the last state.
    norm : ``"none"`` or ``"layer"``.
    activation : hook called at the sites ``gru_0/act``, ``gru_1/act``, ...
    """

    widths: tuple[int, ...]
    num_outputs: int
    norm: str
    activation: ActivationHook

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return outputs [rows, num_outputs] of images x [rows, height, width] or [rows, height, width, channels]."""
        if x.ndim not in (3, 4):
            raise InputError(f"the rnn backbone takes images [rows, height, width(, channels)], not inputs {x.shape}")
        x = x.reshape(*x.shape[:2], -1)
        for i, width in enumerate(self.widths):
            x = GRU(width, self.norm, self.activation, name=f"gru_{i}")(x)
        dense = nn.Dense(self.num_outputs, kernel_init=kernel_init, bias_init=bias_init(x.shape[-1]), name="output")
        return dense(x[:, -1])


@dataclass(frozen=True)
class RNN(Layered):
    """Recurrent network of gated units."""

    has_scan: ClassVar[bool] = True

    def module(self, num_outputs: int, activation: ActivationHook) -> nn.Module:
        """Build the module."""
        return RNNModule(self.widths, num_outputs, self.norm, activation)

    def permutation_spec(self) -> PermutationSpec:
        """Return one permutation a layer, of rows and columns of its recurrent kernels and all else of its units."""
        spec: dict[str, tuple[str | None, ...]] = {}
        incoming = None
        for i in range(len(self.widths)):
            layer, units = f"gru_{i}", f"units_{i}"
            for gate in GATES:
                spec |= {f"{layer}/{gate}_input/kernel": (incoming, units), f"{layer}/{gate}_input/bias": (units,)}
                spec |= {f"{layer}/{gate}_recurrent/kernel": (units, units)}
            spec |= {f"{layer}/act": (units,)}
            if self.norm == "layer":
                spec |= {f"{layer}/norm/scale": (units,), f"{layer}/norm/bias": (units,)}
            incoming = units
        return spec | {"output/kernel": (incoming, None), "output/bias": (None,)}

    def feeds(self) -> Feeds:
        """Return that both kernels of the candidate feed its norm or activation; those of the gates feed sigmoids."""
        places: dict[str, str] = {}
        for i in range(len(self.widths)):
            for kernel in ("candidate_input", "candidate_recurrent"):
                places |= self.feed(f"gru_{i}/{kernel}", f"gru_{i}/norm", f"gru_{i}/act")
        return places
