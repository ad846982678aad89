"""Architectures: each module exports ``BACKBONE``, a Linen module maker and its permutation spec.

In: a ``ModelConfig``, the number of outputs, an activation hook. Out: a network on effective parameters that knows no
symmetry-breaking method. To add one: a module here, a line in ``BACKBONES``.
"""

from asymjax.models.backbones import cnn, mlp
from asymjax.models.backbones.backbone import Backbone

BACKBONES: dict[str, Backbone] = {"mlp": mlp.BACKBONE, "cnn": cnn.BACKBONE}

__all__ = ["BACKBONES", "Backbone"]
