"""Symmetries at work: permuting units, automorphisms of masks, distances to the set of a model's parameters.

In: a ``Model``, effective parameters, and permutations by name as in its ``permutation_spec``. Out: parameters,
permutations, distances. To add a question about symmetry: a module of pure functions here, and its names below.
"""

from asymjax.symmetry.automorphisms import automorphisms, distance_to_model, permuted_distances
from asymjax.symmetry.permutations import all_permutations, permute, unit_counts

__all__ = ["all_permutations", "automorphisms", "distance_to_model", "permute", "permuted_distances", "unit_counts"]
