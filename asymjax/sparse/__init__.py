"""Sparse networks and distilled data: masks, pruning, tickets, and small sets of images that stand for large ones.

In: a ``Model``, positions, and the rows that they are trained on. Out: masks, which are trees of booleans beside
``position``, and rows. To add a way to score entries or to match data: a function in its module, and one line in its
dictionary.
"""

from asymjax.sparse.distillation import Distilled, distill
from asymjax.sparse.matching import soft_cross_entropy

__all__ = ["Distilled", "distill", "soft_cross_entropy"]
