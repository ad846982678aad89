"""How strongly a model tells the units of a layer apart.

Two measures. The distance of a network with two units swapped to the set that the model's positions parametrise: how
far the fixed entries are from symmetric. And swap costs (Neuron Identifiability, arXiv 2606.04754, section 4): how much
larger free weights two units need to take over each other's function, on the inputs that the layer really sees.

Effective kernels are F + D * W with D zero or one: standard F = 0, D = 1; w_asym D the mask of free entries and F where
it is zero; pruned the same mask, F = 0; syre D = 1, F everywhere. NumPy in float64, on the host.
"""

from typing import NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.axes import flat
from asymjax.errors import InputError, choose
from asymjax.symmetry.permutations import gates_of, unit_counts
from asymjax.types import Array, Frozen, Model, Params, PermutationSpec

SHARE_OF_VARIANCE = 0.9
# Of a unit vector of inputs, the squared length on free entries below which no weights reach it, and the share of a
# function's squared length along such vectors above which the function counts as out of reach.
MIN_FREE, MAX_OUTSIDE = 1e-10, 1e-6


def fixed_and_free(model: Model, frozen: Frozen) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return F, float64, and where D is one, bool; by parameter path, of parameters F + D * W."""
    shape, merge = jax.eval_shape(model.init, jax.random.key(0), frozen), jax.jit(model.merge)
    at_zero, at_one = (
        trees.flatten(
            trees.to_host(merge(jax.tree.map(lambda leaf, v=value: np.full(leaf.shape, v, leaf.dtype), shape), frozen))
        )
        for value in (0.0, 1.0)
    )
    fixed = {path: value.astype(np.float64) for path, value in at_zero.items()}
    return fixed, {path: at_one[path] != at_zero[path] for path in at_zero}


# Distances to the model's set ------------------------------------------------------------------------------------


def transposition_distances(model: Model, params: Params, frozen: Frozen, name: str) -> np.ndarray:
    """Return the distance to the model's set after each swap of two units of a layer.

    In closed form for all pairs at once, from fixed values and masks: unit i with the weights of unit j is away from
    what is fixed in unit i by the root of sum over fixed f of (W_jf - F_if)^2.

    Parameters
    ----------
    model, params, frozen : a network, effective parameters.
    name : name of the unit permutation, as in ``model.permutation_spec``.

    Returns
    -------
    float64 [units, units], symmetric, Euclidean distances as of ``distance_to_model``; on the diagonal that of the
    network as it is. Zero where nothing is fixed.

    Raises
    ------
    InputError
        If the network has no permutation of that name.
    """
    choose(unit_counts(params, model.permutation_spec), name, "permutation")
    return _distances(flat(model.permutation_spec), params, *fixed_and_free(model, frozen), name)


def _distances(
    spec: PermutationSpec, params: Params, fixed: dict[str, np.ndarray], is_free: dict[str, np.ndarray], name: str
) -> np.ndarray:
    num_units = unit_counts(params, spec)[name]
    squares = np.zeros((num_units, num_units))
    for path, param in trees.flatten(params).items():
        axes = [axis for axis, other in enumerate(spec[path]) if other == name]
        if not is_free[path].all():
            squares += _swapped_squares(np.asarray(param, np.float64), fixed[path], ~is_free[path], axes)
    return np.sqrt(np.maximum(squares, 0.0))


def _swapped_squares(param: np.ndarray, fixed: np.ndarray, is_fixed: np.ndarray, axes: list[int]) -> np.ndarray | float:
    """Return a parameter's squared distance to what is fixed in it, two units swapped on one or two axes [i, j]."""
    squares = np.sum(np.where(is_fixed, param - fixed, 0.0) ** 2)
    for axis in axes:
        squares = squares + _change(*(np.moveaxis(array, axis, 0) for array in (param, fixed, is_fixed)))
    if len(axes) == 2:  # Where both axes meet, the sum of the two changes is not the change of both.
        squares = squares + _change_of_meeting(
            *(np.moveaxis(array, axes, (0, 1)) for array in (param, fixed, is_fixed))
        )
    return squares


def _change(param: np.ndarray, fixed: np.ndarray, is_fixed: np.ndarray) -> np.ndarray:
    """Return the change of the squared distance when units i and j of the first axis are swapped [i, j]."""
    weights, values, mask = (array.reshape(len(array), -1) for array in (param, fixed, is_fixed.astype(float)))
    of_unit = np.sum(mask * values**2, axis=1, keepdims=True)
    apart = of_unit - 2 * (mask * values) @ weights.T + mask @ (weights**2).T  # [place, unit put there]
    own = np.diag(apart)
    return apart + apart.T - own[:, None] - own[None]


def _change_of_meeting(param: np.ndarray, fixed: np.ndarray, is_fixed: np.ndarray) -> np.ndarray:
    """Return what two swaps, on both leading axes, change of the four entries of units i and j beyond each alone."""
    i, j = np.indices(param.shape[:2])

    def squares(swaps_rows: bool, swaps_columns: bool) -> np.ndarray:
        total = np.zeros(param.shape[:2])
        for row, other_row in ((i, j), (j, i)):
            for column, other_column in ((i, j), (j, i)):
                source = other_row if swaps_rows else row, other_column if swaps_columns else column
                gap = np.where(is_fixed[row, column], param[source] - fixed[row, column], 0.0)
                total += np.sum(gap.reshape(*total.shape, -1) ** 2, axis=-1)
        return total

    return squares(True, True) + squares(False, False) - squares(True, False) - squares(False, True)


# Swap costs ------------------------------------------------------------------------------------------------------


def principal_basis(inputs: np.ndarray | Array, share: float = SHARE_OF_VARIANCE) -> np.ndarray:
    """Return an orthonormal basis of the directions that hold a share of the inputs' variance.

    The mean is taken out: what weights do to it, a bias can do.

    Parameters
    ----------
    inputs : [rows, ..., features].
    share : in (0, 1].

    Returns
    -------
    float64 [features, k], the fewest principal directions that suffice.

    Raises
    ------
    InputError
        If the share is none, or the inputs do not vary.
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share}; give a share of the variance above 0 and up to 1")
    rows = np.asarray(inputs, np.float64).reshape(-1, np.shape(inputs)[-1])
    rows = rows - rows.mean(axis=0)
    variances, directions = np.linalg.eigh(rows.T @ rows)
    reached = np.cumsum(variances[::-1])
    if not reached[-1] > 0:
        raise InputError("the inputs of a layer are all the same; their principal directions need some that differ")
    count = int(np.searchsorted(reached, share * reached[-1])) + 1
    return directions[:, ::-1][:, : min(count, len(variances))]


def coherence(basis: np.ndarray) -> float:
    """Return the largest squared norm of a row of a basis: one where one entry alone spans a direction, k / n at best.

    Parameters
    ----------
    basis : [features, k], orthonormal columns.
    """
    return float(np.max(np.sum(basis**2, axis=1)))


def realisation_costs(kernel: np.ndarray, fixed: np.ndarray, is_free: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return what it costs unit i to be the function of unit j: the least squared norm of free weights that do it.

    On inputs spanned by U unit i realises v_i + im(M_i), v_i = U^T f_i, M_i = U^T diag(d_i); unit j's function is
    a_j = U^T w_j; c_ij = (a_j - v_i)^T S_i^+ (a_j - v_i) with S_i = M_i M_i^T (arXiv 2606.04754). A function outside
    v_i + im(M_i) costs infinity, since no weights of unit i are that function; the least-squares value, which the
    formula alone would give, would call such swaps cheap.

    Parameters
    ----------
    kernel, fixed, is_free : effective weights, F and D [inputs, units].
    basis : U [inputs, k], orthonormal columns.

    Returns
    -------
    float64 [units i, units j], zero or more; finite on the diagonal.
    """
    functions, offsets = basis.T @ np.asarray(kernel, np.float64), basis.T @ fixed
    rows = [
        _costs_of_unit(functions.T - offsets[:, unit], basis[~is_free[:, unit]], unit)
        for unit in range(kernel.shape[1])
    ]
    return np.stack(rows)


def _costs_of_unit(wanted: np.ndarray, fixed_rows: np.ndarray, own: int) -> np.ndarray:
    """Return r^T S^+ r of each row r of ``wanted`` [units, k], where S = I - R^T R for the basis' fixed rows R."""
    squares = np.sum(wanted**2, axis=1)
    if not len(fixed_rows):
        return squares
    _, lengths, directions = np.linalg.svd(fixed_rows, full_matrices=False)
    free = 1 - lengths**2  # The eigenvalues of S along these directions; all others are one.
    is_lost = free < MIN_FREE
    along = (wanted @ directions.T) ** 2
    costs = squares + along @ np.where(is_lost, -1.0, 1 / np.where(is_lost, 1.0, free) - 1)
    is_outside = along[:, is_lost].sum(axis=1) > MAX_OUTSIDE * squares
    is_outside[own] = False  # A unit is its own function, whatever the rounding.
    return np.where(is_outside, np.inf, np.maximum(costs, 0.0))


def swap_costs(costs: np.ndarray) -> np.ndarray:
    """Return what it costs units i and j to take each other's function, Delta_ij = c_ij + c_ji - c_ii - c_jj.

    Parameters
    ----------
    costs : [units, units] of :func:`realisation_costs`.

    Returns
    -------
    [units, units], symmetric, zero on the diagonal; negative where the swapped network needs smaller free weights.
    Zero everywhere for a standard layer; 2 (a_i - a_j) . (v_i - v_j) for a syre layer.
    """
    own = np.diag(costs)
    return costs + costs.T - (own[:, None] + own[None])


def signed_root(values: np.ndarray) -> np.ndarray:
    """Return sign(x) sqrt(|x|)."""
    return np.sign(values) * np.sqrt(np.abs(values))


# A network's layers ----------------------------------------------------------------------------------------------


class LayerStrength(NamedTuple):
    """How strongly the units of a layer are told apart.

    Attributes
    ----------
    coherence : of the basis of the layer's inputs, see :func:`coherence`.
    num_dimensions : of that basis.
    swap_costs : float64 [pair], signed roots of the swap costs of all pairs of units.
    distance : smallest distance to the model's set over all swaps of two units; NaN where the layer has one unit.
    """

    coherence: float
    num_dimensions: int
    swap_costs: np.ndarray
    distance: float


def check_measurable(model: Model, frozen: Frozen, x: Array | np.ndarray) -> None:
    """Refuse networks whose units are told apart otherwise than by dense kernels, before any work.

    Raises
    ------
    InputError
        If the model has gates, hidden layers that are not dense, or layers in a scan.
    """
    if gates_of(frozen):
        raise InputError("gates tell units apart, not weights: swap costs and distances to the set say nothing of them")
    seen = jax.eval_shape(model.layer_inputs, model.params_shape, frozen, x)
    unseen = [path for path in _hidden_kernels(model) if path not in seen]
    if unseen:
        raise InputError(f"swap costs are of the units of dense layers, which {', '.join(unseen)} are not")


def _hidden_kernels(model: Model) -> dict[str, str]:
    """Return the kernels whose units can be permuted, each with the name of that permutation."""
    kernels = (path for path in trees.flatten(model.params_shape) if path.endswith("/kernel"))
    return {path: name for path in kernels if (name := flat(model.permutation_spec)[path][-1]) is not None}


def layer_strengths(
    model: Model, params: Params, frozen: Frozen, inputs: dict[str, Array], share: float = SHARE_OF_VARIANCE
) -> dict[str, LayerStrength]:
    """Measure each hidden layer of a network.

    Parameters
    ----------
    model, params, frozen : a network of dense layers, see :func:`check_measurable`; effective parameters.
    inputs : what enters its layers, as of ``model.layer_inputs``.
    share : of the variance of a layer's inputs that its basis holds.
    """
    fixed, is_free = fixed_and_free(model, frozen)
    kernels, strengths = trees.flatten(params), {}
    for path, name in _hidden_kernels(model).items():
        basis = principal_basis(inputs[path], share)
        costs = swap_costs(realisation_costs(kernels[path], fixed[path], is_free[path], basis))
        pairs = np.triu_indices(len(costs), 1)
        distances = _distances(flat(model.permutation_spec), params, fixed, is_free, name)[pairs]
        strengths[path] = LayerStrength(
            coherence(basis), basis.shape[1], signed_root(costs[pairs]), float(min(distances, default=np.nan))
        )
    return strengths
