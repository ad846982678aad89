"""Architectures: a module each, a frozen dataclass of settings that builds a network and knows its permutations.

In: the number of outputs, an activation hook. Out: a network on effective parameters that knows no symmetry-breaking
method. To add one: a module here with a subclass of ``Backbone``, a line in ``BACKBONES``.
"""

from asymjax.models.backbones.backbone import Backbone
from asymjax.models.backbones.cnn import CNN
from asymjax.models.backbones.gcn import GCN
from asymjax.models.backbones.mlp import MLP
from asymjax.models.backbones.resnet import ResNet
from asymjax.models.backbones.rnn import RNN

BACKBONES: dict[str, type[Backbone]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet": ResNet,
    "rnn": RNN,
    "gcn": GCN,
}

__all__ = ["BACKBONES", "CNN", "GCN", "MLP", "RNN", "Backbone", "ResNet"]
