"""The way from a function of parameters to what it is made of."""

from collections.abc import Callable
from typing import Any

from asymjax.models.reading.result import Symmetries
from asymjax.types import Key, PyTree


def find_symmetries(
    apply: Callable[[PyTree, Any], PyTree], params: PyTree, example: Any, *, check: bool = True, key: Key | None = None
) -> Symmetries:
    """Read the roles of a network's parameters and the permutations of its units from its jaxpr.

    Parameters
    ----------
    apply : (params, example) -> outputs, a tree of arrays; any JAX function.
    params : tree of arrays or of ``jax.ShapeDtypeStruct``.
    example : inputs, a tree of arrays or of ``jax.ShapeDtypeStruct``. The check draws those of floating type, and
        takes others as they are.
    check : whether to run the network, on random parameters and inputs, and compare.
    key : of what the check draws; a fixed one unless given.

    Raises
    ------
    InputError
        If two leaves have one path, or the outputs of the check are not finite.
    AssertionError
        If a permutation changes the outputs.
    """
    raise NotImplementedError
