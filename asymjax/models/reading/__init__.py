"""Reading a network from its jaxpr: what each parameter does, and which permutations of units leave the function alone.

In: any JAX function ``apply(params, example)`` and its parameters. Out: :class:`Symmetries`. To teach it an operation:
a rule in ``rules.py``, and a line in ``RULES``.
"""

from asymjax.models.reading.find import find_symmetries
from asymjax.types import Layer, Symmetries

__all__ = ["Layer", "Symmetries", "find_symmetries"]
