"""The baseline: nothing is fixed, ``merge`` is the identity."""

from dataclasses import dataclass

from asymjax.models.methods.method import Method


@dataclass(frozen=True)
class Standard(Method):
    """Plain networks.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Standard().note
    'Every symmetry of the network is there.'
    """
