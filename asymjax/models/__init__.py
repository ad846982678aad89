"""Networks as pure functions over (position, frozen).

In: a method, a backbone and shapes. Out: a ``Model``. A backbone is one module in ``backbones/``, a symmetry-breaking
method one module in ``methods/``; each joins its folder's registry with one line.
"""

from asymjax.models.build import build_model, checked_frozen, draw_frozen, vary_frozen
from asymjax.models.config import ModelConfig, Models
from asymjax.models.reading import find_symmetries
from asymjax.models.settled import settled_network

__all__ = [
    "ModelConfig",
    "Models",
    "build_model",
    "checked_frozen",
    "draw_frozen",
    "find_symmetries",
    "settled_network",
    "vary_frozen",
]
