"""Architectures: each module exports ``BACKBONE``, a Linen module maker, its permutation spec, what feeds what.

In: a ``ModelConfig``, the number of outputs, an activation hook. Out: a network on effective parameters that knows no
symmetry-breaking method. To add one: a module here, a line in ``BACKBONES``.
"""

from asymjax.models.backbones import cnn, gcn, mlp, resnet, rnn
from asymjax.models.backbones.backbone import Backbone

BACKBONES: dict[str, Backbone] = {
    "mlp": mlp.BACKBONE,
    "cnn": cnn.BACKBONE,
    "resnet": resnet.BACKBONE,
    "rnn": rnn.BACKBONE,
    "gcn": gcn.BACKBONE,
}

__all__ = ["BACKBONES", "Backbone"]
