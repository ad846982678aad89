"""Symmetries at work: permutation groups, automorphisms of masks, strength of asymmetry, alignment, paths and planes.

In: a ``Model``, effective parameters, and permutations by name as in its ``permutation_spec``. Out: parameters,
permutations, distances. To add a question about symmetry: a module of pure functions here, and its names below.
"""

from asymjax.symmetry.alignment import activation_matching, align, match_pairs, merge_many, weight_matching
from asymjax.symmetry.automorphisms import automorphisms, distance_to_model, permuted_distance, permuted_distances
from asymjax.symmetry.permutations import (
    all_permutations,
    compose,
    gates_of,
    identity,
    invert,
    log_group_order,
    permute,
    permute_frozen,
    random_permutations,
    unit_counts,
    with_gates,
)
from asymjax.symmetry.sinkhorn import sinkhorn_matching
from asymjax.symmetry.strength import (
    layer_strengths,
    principal_basis,
    realisation_costs,
    swap_costs,
    transposition_distances,
)
from asymjax.symmetry.widening import Widening, idle_units, split_units, widening_of

__all__ = [
    "Widening",
    "activation_matching",
    "align",
    "all_permutations",
    "automorphisms",
    "compose",
    "distance_to_model",
    "gates_of",
    "identity",
    "idle_units",
    "invert",
    "layer_strengths",
    "log_group_order",
    "match_pairs",
    "merge_many",
    "permute",
    "permute_frozen",
    "permuted_distance",
    "permuted_distances",
    "principal_basis",
    "random_permutations",
    "realisation_costs",
    "sinkhorn_matching",
    "split_units",
    "swap_costs",
    "transposition_distances",
    "unit_counts",
    "weight_matching",
    "widening_of",
    "with_gates",
]
