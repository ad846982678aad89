"""Gaussian priors of networks: which standard deviation, and which mean, each parameter has. Imports no JAX."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from asymjax.settings import Positive, Settings

if TYPE_CHECKING:
    from asymjax.types import Layer

OUTPUT_SCALES = {"classification": 20.0, "regression": 1.0}


@dataclass(frozen=True)
class NormalPrior(Settings):
    """Independent Gaussians over the parameters of a network, around 0, and around 1 for norm scales.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.NormalPrior(scale=2.0, norm_scale=0.1)
    NormalPrior(scaling='fan_in', scale=2.0, output_scale=None, norm_scale=0.1)
    """

    scaling: Literal["fan_in", "fan_out", "isotropic"] = "fan_in"
    """Standard deviation of kernels: scale / sqrt(fan_in), or scale; biases have scale. With fan_out kernels and biases
    have scale / sqrt(units of the layer), as in the perceptrons of Lim et al. (2024), whose scale is 10."""
    scale: Positive = 1.0
    """Standard deviation, in the units of ``scaling``."""
    output_scale: Positive | None = None
    """The same of the last kernel, as a multiple of scale: the amplitude of the outputs. Default: 20 for
    classification, whose labels are nearly certain; 1 for regression."""
    norm_scale: Positive = 0.2
    """The same of norm scales (around 1) and norm biases (around 0), as a multiple of scale."""

    def scale_of(self, layer: "Layer") -> float:
        """Return the standard deviation of the entries of a parameter, by what it does in the network."""
        scale = self.scale
        if layer.is_norm:
            scale *= self.norm_scale
        if layer.is_output:
            scale *= 1.0 if self.output_scale is None else self.output_scale
        if layer.role == "kernel" and self.scaling == "fan_in":
            scale /= math.sqrt(layer.fan_in)
        if not layer.is_norm and self.scaling == "fan_out":
            scale /= math.sqrt(layer.fan_out)
        return scale

    def mean_of(self, layer: "Layer") -> float:
        """Return the mean of the entries of a parameter."""
        return 1.0 if layer.role == "scale" else 0.0

    def for_task(self, task: str) -> "NormalPrior":
        """Fill in the default that depends on the task."""
        return self if self.output_scale is not None else replace(self, output_scale=OUTPUT_SCALES[task])
