"""Counts of symmetries against brute force: ranks of Jacobians, and all signed permutations tried one by one.

Networks of NumPy, with three units in each of two layers; what is fixed is drawn, and some units are cut off.
"""

import math
from itertools import permutations, product

import numpy as np
import pytest

from asymjax.models.backbones import MLP
from asymjax.models.structure import Structure
from asymjax.models.symmetries import CONTINUOUS, count_symmetries, not_counted

ACTIVATIONS = {
    "relu": lambda x: np.where(x.real > 0, x, 0),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "identity": lambda x: x,
}
MASKED, GATED = ("pruned", "w_asym", "w_sigma_asym"), ("sigma_asym", "w_sigma_asym")
# Singular values are above 1e-10, or rounding: 1e-15. Functions that agree do so to 1e-11, and others differ by 0.01.
RANK_TOLERANCE, TOLERANCE = 1e-12, 1e-7


def network(method, activation, norm, num_fixed, generator, cut=(), sizes=(3, 3, 3, 2)):
    """A structure; ``cut`` holds (layer, side, unit): "outgoing" or "incoming" weights that are fixed at zero."""
    backbone = MLP(sizes[1:-1], norm="none" if norm == "none" else "layer")
    layers = [*(f"dense_{i}" for i in range(len(sizes) - 2)), "output"]
    fixed, biases, gates = {}, {}, {}
    for i, (layer, count) in enumerate(zip(layers, num_fixed, strict=True)):
        shape = sizes[i], sizes[i + 1]
        is_fixed = np.zeros(shape, bool)
        if method in MASKED:
            for unit in range(shape[1]):
                is_fixed[generator.permutation(shape[0])[:count], unit] = True
        values = np.where(is_fixed, (method != "pruned") * generator.standard_normal(shape), np.nan)
        for place, side, unit in cut:
            if place == i:
                values[(slice(None), unit) if side == "incoming" else (unit, slice(None))] = 0.0
        fixed[f"{layer}/kernel"] = values
        if method == "fixed_bias":
            biases[f"{layer}/bias"] = generator.standard_normal(shape[1])
        if method in GATED and layer != "output":
            gates[f"act_{i}"] = generator.standard_normal((shape[1], shape[1]))
    return Structure(activation, backbone.permutation_spec(), backbone.feeds(), fixed, biases, gates, norm)


def run(structure, params, x, replaced=None):
    """Return outputs and the activations of all layers; ``replaced`` (layer, unit) has others, of its own."""
    seen = []
    for i in range(len(structure.widths())):
        x = x @ params[f"dense_{i}/kernel"] + params[f"dense_{i}/bias"]
        if structure.norm != "none":
            axis = 1 if structure.norm == "layer" else 0
            x = x - x.mean(axis=axis, keepdims=True)
            size = np.sqrt(np.mean(x * x, axis=axis, keepdims=True))
            x = np.where(size.real > 1e-9, x / np.where(size.real > 1e-9, size, 1), 0)  # Without an epsilon.
            x = x * params[f"norm_{i}/scale"] + params[f"norm_{i}/bias"]
        gate = structure.gates.get(f"act_{i}")
        x = ACTIVATIONS[structure.activation](x) if gate is None else x / (1 + np.exp(-(x @ gate)))
        if replaced is not None and replaced[0] == i:
            x = np.where(np.arange(x.shape[1]) == replaced[1], np.sin(7 * x[:, :1]), x)
        seen.append(x)
    return x @ params["output/kernel"] + params["output/bias"], seen


def fixed_of(structure):
    """What is fixed of every parameter, NaN where free."""
    widths, found = structure.widths(), dict(structure.fixed)
    for path, (name, *_) in structure.spec.items():
        if path.endswith(("bias", "scale")):
            width = widths[name] if name else structure.fixed[path.replace("bias", "kernel")].shape[1]
            found[path] = structure.biases.get(path, np.full(width, np.nan))
    return found


def draw(structure, generator):
    params = {}
    for path, values in fixed_of(structure).items():
        drawn = generator.standard_normal(values.shape) * (0.3 if path.endswith("bias") else 1.0)
        drawn = 0.5 + np.abs(drawn) if path.endswith("scale") else drawn
        params[path] = np.where(np.isnan(values), drawn, values)
    return params


def inputs_of(structure, generator, count=100):
    return 3 * generator.standard_normal((count, structure.fixed["dense_0/kernel"].shape[0]))


# Flat directions -------------------------------------------------------------------------------------------------


def num_flat_directions(structure, least):
    """Return how many directions of what is free leave the outputs as they are, at generic weights.

    Units may be dead at a point, so several are tried until there are no more than ``least``, three at the least.
    """
    generator, found = np.random.default_rng(0), []
    x = inputs_of(structure, generator)
    while len(found) < 3 or (len(found) < 60 and min(found) > least):
        params, columns = draw(structure, generator), []
        for path, values in fixed_of(structure).items():
            for place in zip(*np.nonzero(np.isnan(values)), strict=True):
                moved = params | {path: params[path].astype(complex)}
                moved[path][place] += 1e-30j
                columns.append(run(structure, moved, x)[0].imag.ravel() * 1e30)
        sizes = np.linalg.norm(columns, axis=1, keepdims=True)
        # What a norm undoes may leave a derivative of rounding, which stays small.
        scaled = np.array(columns) / np.where(sizes > 1e-9 * sizes.max(), sizes, 1)
        found.append(len(columns) - int(np.sum(np.linalg.svd(scaled, compute_uv=False) > RANK_TOLERANCE)))
    return min(found)


def counted_flat_directions(structure):
    counts = count_symmetries(structure)
    return sum(sum(counts[family].values()) for family in CONTINUOUS)


# Discrete symmetries ---------------------------------------------------------------------------------------------


class Factors:
    """The numbers that a scaling multiplies with: 1, one for each unit, and one for each norm."""

    def __init__(self, structure):
        self.gone, is_out = idle_units(structure)
        widths = list(structure.widths().values())
        self.of_units, self.of_norm, count = [], [], 1
        can_scale, can_flip = [False], [False]
        for i, width in enumerate(widths):
            self.of_units.append(count + np.arange(width))
            can_scale += list(~is_out[i] & (structure.activation in ("relu", "identity") and not structure.gates))
            can_flip += list(~is_out[i] & (structure.activation in ("tanh", "identity") and not structure.gates))
            count += width
        for width, gone in zip(widths, self.gone, strict=True):
            self.of_norm.append(count + np.arange(width) * (structure.norm == "batch"))
            has_norm = ~gone if structure.norm == "batch" else ~gone.all(keepdims=True)
            can_scale += list(has_norm & (structure.norm != "none"))
            can_flip += list(has_norm & (structure.norm != "none"))
            count += len(has_norm)
        self.can_scale, self.count = np.array(can_scale), count
        self.signs = np.array(list(product(*([1, -1] if flips else [1] for flips in can_flip))))


def idle_units(structure):
    """Return by layer of which units all is idle, and of which the activations are: a change of it changes nothing.

    What does not depend on the inputs is idle too, since biases do the same.
    """
    generator = np.random.default_rng(0)
    x, units = inputs_of(structure, generator), list(structure.widths().values())
    idle = [[np.ones(width, bool) for width in units] for _ in range(3)]
    for _ in range(5):
        params, others = draw(structure, generator), draw(structure, generator)
        outputs, seen = run(structure, params, x)
        for i, unit in ((i, unit) for i, width in enumerate(units) for unit in range(width)):
            column = {f"dense_{i}/kernel": (slice(None), unit), f"dense_{i}/bias": unit}
            moved = params | {path: params[path].copy() for path in column}
            for path, place in column.items():
                moved[path][place] = others[path][place] + generator.standard_normal(np.shape(others[path][place]))
            changed = [run(structure, *which)[0] for which in ((moved, x), (params, x, (i, unit)))]
            for kind, found in enumerate([*(np.abs(out - outputs).max() for out in changed), np.ptp(seen[i][:, unit])]):
                idle[kind][i][unit] &= found < TOLERANCE
    gone, is_out, is_constant = idle
    return [[a | b for a, b in zip(kind, is_constant, strict=True)] for kind in (gone, is_out)]


def order_of_discrete_symmetries(structure, expected):
    """Return of how many signed permutations scalings and shifts keep what is fixed, whatever the weights are.

    Weights are drawn until ``expected`` are left, three times at the least.
    """
    generator, factors = np.random.default_rng(1), Factors(structure)
    of_layers = [
        [order for order in permutations(range(len(gone))) if np.all(np.array(order)[gone] == np.flatnonzero(gone))]
        for gone in factors.gone
    ]
    candidates, orders = list(product(*of_layers)), []
    while len(orders) < 3 or (len(orders) < 30 and orders[-1] > expected):
        params = draw(structure, generator)
        found = {element: num_signs_of(structure, params, element, factors) for element in candidates}
        candidates = [element for element, number in found.items() if number]
        orders.append(sum(found.values()))
    return orders[-1]


def num_signs_of(structure, params, element, factors):
    """Return for how many choices of signs there are scalings and shifts that keep what is fixed, at some weights."""
    equations = fixed_equations(structure, params, element, factors)
    if equations is None:
        return 0
    ends, ratios = np.array([e[:2] for e in equations], int).reshape(-1, 2), np.array([e[2] for e in equations])
    quotients = np.zeros((len(ends), factors.count))
    np.add.at(quotients, (np.arange(len(ends)), ends[:, 0]), 1)
    np.add.at(quotients, (np.arange(len(ends)), ends[:, 1]), -1)
    quotients[:, ~factors.can_scale] = 0
    logs = np.zeros(factors.count)
    if len(ends):
        logs = np.linalg.lstsq(quotients, np.log(np.abs(ratios)), rcond=None)[0]
        if np.abs(quotients @ logs - np.log(np.abs(ratios))).max() > TOLERANCE:
            return 0
    kept = np.all(factors.signs[:, ends[:, 0]] * factors.signs[:, ends[:, 1]] == np.sign(ratios), axis=1)
    for signs in factors.signs[kept][[0, -1]] if kept.any() else ():
        if not is_same_function(structure, params, element, signs * np.exp(logs), factors):
            return 0
    return int(kept.sum())


def layers_of(structure, factors):
    """Yield path, factors of inputs and of units (or their norm), layers that are read and written."""
    num_layers = len(factors.of_units)
    for i in range(num_layers + 1):
        layer = "output" if i == num_layers else f"dense_{i}"
        width = structure.fixed[f"{layer}/kernel"].shape[1]
        units = np.zeros(width, int) if i == num_layers else factors.of_units[i]
        if i < num_layers and structure.norm != "none":
            units = factors.of_norm[i]
        inputs = factors.of_units[i - 1] if i else np.zeros(len(structure.fixed[f"{layer}/kernel"]), int)
        yield f"{layer}/kernel", inputs, units, i - 1, i
        yield f"{layer}/bias", np.zeros(1, int), units, -1, i


def fixed_equations(structure, params, element, factors):
    """Return (factor of unit, factor of input, their quotient) that fixed entries ask for; None if they cannot be."""
    fixed, num_layers, equations = fixed_of(structure), len(factors.of_units), []
    for path, inputs, units, reads, writes in layers_of(structure, factors):
        rows = element[reads] if reads >= 0 else range(len(inputs))
        columns = element[writes] if writes < num_layers else range(len(units))
        wanted, given = np.atleast_2d(fixed[path]), np.atleast_2d(params[path])[np.ix_(rows, columns)]
        has_shifts = structure.norm == "layer" and writes < num_layers
        is_undone = structure.norm == "batch" and writes < num_layers and path.endswith("bias")
        for i in range(len(wanted)):
            if is_undone or (reads >= 0 and factors.gone[reads][i]):
                continue
            is_asked = ~np.isnan(wanted[i]) if writes == num_layers else ~np.isnan(wanted[i]) & ~factors.gone[writes]
            asked = np.flatnonzero(is_asked)
            if has_shifts:
                line = np.stack([given[i, asked], np.ones(len(asked))], axis=1)
                if len(asked) < 2 or (np.ptp(given[i, asked]) < TOLERANCE and np.ptp(wanted[i, asked]) < TOLERANCE):
                    continue
                quotient = np.linalg.lstsq(line, wanted[i, asked], rcond=None)[0]
                if np.abs(line @ quotient - wanted[i, asked]).max() > TOLERANCE or abs(quotient[0]) < TOLERANCE:
                    return None
                equations.append((units[0], inputs[i], quotient[0]))
                continue
            for j in asked:
                if (wanted[i, j] == 0) != (given[i, j] == 0):
                    return None
                if wanted[i, j] != 0:
                    equations.append((units[j], inputs[i], wanted[i, j] / given[i, j]))
    return equations


def is_same_function(structure, params, element, values, factors):
    """Return whether the permuted and scaled network, shifted to what is fixed, is the function that it was."""
    fixed, num_layers, moved = fixed_of(structure), len(factors.of_units), {}
    for path, inputs, units, reads, writes in layers_of(structure, factors):
        rows = element[reads] if reads >= 0 else range(len(inputs))
        columns = element[writes] if writes < num_layers else range(len(units))
        leaf = np.atleast_2d(params[path])[np.ix_(rows, columns)] * values[units] / values[inputs][:, None]
        if structure.norm == "layer" and writes < num_layers:
            for row, wanted in zip(leaf, np.atleast_2d(fixed[path]), strict=True):
                row += next((wanted[j] - row[j] for j in np.flatnonzero(~np.isnan(wanted))), 0.0)
        if structure.norm == "batch" and writes < num_layers and path.endswith("bias"):
            leaf = np.where(np.isnan(fixed[path]), leaf, fixed[path])
        moved[path] = leaf.reshape(params[path].shape)
    for i, units in enumerate(factors.of_units):
        if structure.norm != "none":
            scale, bias = f"norm_{i}/scale", f"norm_{i}/bias"
            moved[scale] = params[scale][list(element[i])] * values[units] * np.sign(values[factors.of_norm[i]])
            moved[bias] = params[bias][list(element[i])] * values[units]
    x = inputs_of(structure, np.random.default_rng(2))
    for i, unit in ((i, unit) for i, gone in enumerate(factors.gone) for unit in np.flatnonzero(gone)):
        # What is fixed of an idle unit is put back, and a bias does what it did.
        after = "output" if i + 1 == num_layers else f"dense_{i + 1}"
        for path, place in ((f"dense_{i}/kernel", (slice(None), unit)), (f"{after}/kernel", unit)):
            before, wanted = moved[path][place].copy(), fixed[path][place]
            moved[path][place] = np.where(np.isnan(wanted), before, wanted)
            if path.startswith(after):
                moved[f"{after}/bias"] += run(structure, moved, x)[1][i][0, unit] * (before - moved[path][place])
    kept = [np.abs((moved[path] - wanted)[~np.isnan(wanted)]).max(initial=0) for path, wanted in fixed.items()]
    outputs, again = (run(structure, which, x)[0] for which in (params, moved))
    return max(kept) < TOLERANCE and np.abs(again - outputs).max() < TOLERANCE * (1 + np.abs(outputs).max())


def counted_order(structure):
    counts = count_symmetries(structure)
    num_flips = sum(sum(counts[family].values()) for family in ("unit_sign_flips", "layer_sign_flips"))
    return round(math.exp(sum(counts["permutations"].values())) * 2**num_flips)


# Examples by hand, and a family ----------------------------------------------------------------------------------

NUM_FIXED = (1, 1, 1)
DEAD = ((2, "outgoing", 0),)


@pytest.mark.parametrize(
    ("activation", "norm", "expected"), [("relu", "none", 8), ("relu", "layer", 11), ("tanh", "none", 3)]
)
def test_a_dead_unit_leaves_all_that_it_has_free(activation, norm, expected):
    # Two of its three incoming weights are free, and its bias; after a LayerNorm the norm's scale and bias are.
    structure = network("pruned", activation, norm, (1, 1, 0), permuted_diagonals(), DEAD)
    assert counted_flat_directions(structure) == expected
    assert num_flat_directions(structure, expected) == expected


def permuted_diagonals():
    """A generator whose masks fix one entry of every row and column of a square kernel."""

    class Generator:
        def __init__(self):
            self.drawn, self.count = np.random.default_rng(0), 0
            self.standard_normal = self.drawn.standard_normal

        def permutation(self, size):
            self.count += 1
            return np.roll(np.arange(size), self.count)

    return Generator()


@pytest.mark.parametrize(("activation", "expected"), [("relu", 24), ("tanh", 192)])
def test_a_shift_restores_the_one_fixed_weight_of_each_input_after_any_permutation(activation, expected):
    structure = network("w_asym", activation, "layer", (1, 1, 2), permuted_diagonals())
    assert counted_order(structure) == expected
    assert order_of_discrete_symmetries(structure, expected) == expected


CUTS = ((), DEAD, ((1, "incoming", 1),), ((1, "outgoing", 2), (2, "outgoing", 0)))
FAMILY = [
    (method, activation, norm, num_fixed, cut)
    for method in ("standard", "fixed_bias", "sigma_asym", *MASKED)
    for activation, norm in [*product(("relu", "tanh", "silu"), ("none", "layer")), ("relu", "batch")]
    for num_fixed, cut in (
        (((1, 1, 1), ()), ((1, 1, 0), DEAD), ((0, 2, 1), CUTS[2]), ((0, 1, 0), CUTS[3]))
        if method in MASKED
        else (((0, 0, 0), ()),)
    )
]


@pytest.mark.parametrize("number", range(6))
def test_counts_of_a_family_of_networks_are_those_of_brute_force(number):
    for seed, (method, activation, norm, num_fixed, cut) in list(enumerate(FAMILY))[number::6]:
        structure = network(method, activation, norm, num_fixed, np.random.default_rng(seed), cut)
        flat, order, case = counted_flat_directions(structure), counted_order(structure), f"{seed}: {FAMILY[seed]}"
        found = num_flat_directions(structure, flat)
        assert found >= flat if not_counted(structure) else found == flat, case
        assert order_of_discrete_symmetries(structure, order) == order, case


@pytest.mark.parametrize(
    ("sizes", "num_unread", "num_fixed", "expected"),
    [
        ((2, 12, 1), 0, 0, 12 - 3 - 3 * 4 // 2),
        ((2, 9, 1), 0, 0, 0),
        ((4, 6, 1), 4, 0, 3 * 2 // 2),
        ((4, 6, 1), 2, 0, 0),
        ((4, 7, 1), 5, 1, None),
    ],
)
def test_a_layer_norm_over_many_units_or_of_unread_ones_leaves_more(sizes, num_unread, num_fixed, expected):
    cut = [(1, "outgoing", unit) for unit in range(num_unread)]
    structure = network("pruned", "silu", "layer", (num_fixed, 0), np.random.default_rng(0), cut, sizes)
    flat, balances = counted_flat_directions(structure), count_symmetries(structure)["norm_balances"]
    assert expected is None or sum(balances.values()) == expected
    assert num_flat_directions(structure, flat) == flat


def test_what_is_not_counted_is_said():
    def said(activation, norm, sizes, cut=()):
        return not_counted(network("pruned", activation, norm, (0, 0), np.random.default_rng(0), cut, sizes))

    unread = [(1, "outgoing", unit) for unit in range(59)]
    assert said("relu", "layer", (3, 60, 1)) == []
    assert "norm_0: of the changes before it" in said("relu", "layer", (60, 60, 1), unread)[0]
    assert "norm_0 makes signs of two units" in said("relu", "layer", (3, 2, 1))[0]
    assert "linear units mix by the general linear group" in said("identity", "none", (3, 3, 1))[0]


def test_permutations_of_several_layers_at_once_are_found_and_too_many_are_not_searched():
    def order(num_units):
        fixed = {"dense_1/kernel": np.where(np.eye(num_units), 0.0, np.nan)}
        sizes = 3, num_units, num_units, 2
        free = network("standard", "silu", "none", (0, 0, 0), np.random.default_rng(0), sizes=sizes)
        return sum(count_symmetries(free._replace(fixed=free.fixed | fixed))["permutations"].values())

    # A unit moves along with the one that does not read it.
    assert order(7) == pytest.approx(math.lgamma(8))
    with pytest.warns(UserWarning, match="swaps of two units are counted alone: the 60 units that might be exchanged"):
        assert order(30) == 0
