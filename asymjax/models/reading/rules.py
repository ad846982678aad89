"""What each operation ties together: from the axes of its inputs to those of its outputs.

A rule is (walk, equation, inputs) -> the axes of each output, or None where it claims nothing. Operations without a
rule are pinned by the walk. ``RULES`` names operations as jaxprs do.
"""

import math
from collections.abc import Sequence
from typing import Any

from asymjax.models.reading.walk import DATA, PARAMETER, Axis, Rule, Value, Walk, opened, scan_counts, shape_of

Outputs = Sequence[Value | Sequence[Axis]]

ROLES = {"add": "bias", "add_any": "bias", "sub": "bias", "mul": "scale", "div": "scale"}


def elementwise(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Join axes by position; inputs without axes, and axes of one index, go with any."""
    kinds = {value.kind for value in inputs}
    for value in inputs:
        if value.kind == PARAMETER and DATA in kinds:
            walk.use(value, ROLES.get(eqn.primitive.name), out_axes=range(len(value.axes)))
    shaped = [value.axes for value in inputs if value.axes]
    axes = list(shaped[0]) if shaped else []
    for others in shaped[1:]:
        axes = [_broadcast_join(walk, one, other) for one, other in zip(axes, others, strict=True)]
    return [axes] * len(eqn.outvars)


def _broadcast_join(walk: Walk, one: Axis, other: Axis) -> Axis:
    sizes = walk.atoms.size(one.atom), walk.atoms.size(other.atom)
    return walk.join(one, other) if sizes[0] == sizes[1] else one if sizes[1] == 1 else other


def each_alone(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pass every input on as the output at its place."""
    return inputs


def bitcast(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs | None:
    """Join axes by position, if numbers keep their width."""
    return elementwise(walk, eqn, inputs) if shape_of(eqn.invars[0]) == shape_of(eqn.outvars[0]) else None


def reduction(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Drop the axes that are reduced, in any order of their indices."""
    return [[axis for i, axis in enumerate(value.axes) if i not in eqn.params["axes"]] for value in inputs]


def first_index(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin and drop the axes whose index is the result (argmax)."""
    for i in eqn.params["axes"]:
        walk.atoms.pin(inputs[0].axes[i].atom)
    return reduction(walk, eqn, inputs)


def transpose(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Move axes."""
    return [[inputs[0].axes[i] for i in eqn.params["permutation"]]]


def squeeze(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Drop axes of one index; where they were cut out of a parameter, it is one of several of its layers."""
    value = inputs[0]
    dropped = eqn.params["dimensions"]
    axes = tuple(axis for i, axis in enumerate(value.axes) if i not in dropped)
    return [value._replace(axes=axes, indexed=value.indexed.union(*(value.axes[i].origin for i in dropped)))]


def broadcast(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Add axes along which values are constant."""
    shape = eqn.params["shape"]
    axes = [walk.fresh(size) for size in shape]
    for axis, place in zip(inputs[0].axes, eqn.params["broadcast_dimensions"], strict=True):
        axes[place] = axis if walk.atoms.size(axis.atom) == shape[place] else axes[place]
    return [axes]


def reshape(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs | None:
    """Align factors: within each smallest group of axes of one size, before and after."""
    axes, sizes = list(inputs[0].axes), eqn.params["new_sizes"]
    if eqn.params.get("dimensions") is not None or 0 in sizes:
        return None
    made: list[Axis] = []
    for old, new in _groups([walk.atoms.size(axis.atom) for axis in axes], sizes):
        group, wanted = [axes[i] for i in old], [sizes[i] for i in new]
        origin = frozenset().union(*(axis.origin for axis in group))
        atoms = walk.atoms.split_factors(walk.atoms.product([axis.atom for axis in group]), wanted)
        if atoms is None:
            for axis in group:
                walk.atoms.pin(axis.atom)
            atoms = [walk.atoms.new(size, True) for size in wanted]
        made += [Axis(atom, origin if size > 1 else frozenset()) for atom, size in zip(atoms, wanted, strict=True)]
    return [made]


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[range, range]]:
    """Return the smallest ranges of axes, before and after, that have as many indices."""
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        start = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while (before := math.prod(old[start[0] : i])) != (after := math.prod(new[start[1] : j])):
            i, j = (i + 1, j) if before < after else (i, j + 1)
        groups.append((range(start[0], i), range(start[1], j)))
    return groups


def concatenate(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Make a sum of one axis, and join the others."""
    place = eqn.params["dimension"]
    axes = list(inputs[0].axes)
    for value in inputs[1:]:
        axes = [axis if i == place else walk.join(axis, value.axes[i]) for i, axis in enumerate(axes)]
    along = [value.axes[place] for value in inputs]
    origin = frozenset().union(*(axis.origin for axis in along))
    axes[place] = Axis(walk.atoms.sum([axis.atom for axis in along]), origin)
    return [axes]


def slice_(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Cut axes to sums; with steps, pin them."""
    starts, stops = eqn.params["start_indices"], eqn.params["limit_indices"]
    steps = eqn.params["strides"] or (1,) * len(starts)
    return [
        [
            _range(walk, axis, start, stop) if step == 1 else _part(walk, axis, size)
            for axis, start, stop, step, size in zip(
                inputs[0].axes, starts, stops, steps, shape_of(eqn.outvars[0]), strict=True
            )
        ]
    ]


def _range(walk: Walk, axis: Axis, start: int, stop: int) -> Axis:
    if stop == start:
        return Axis(walk.atoms.new(0), axis.origin)
    return Axis(walk.atoms.part(axis.atom, start, stop), axis.origin)


def _part(walk: Walk, axis: Axis, size: int) -> Axis:
    """Return an axis as it is if it keeps its size, else pinned, before and after."""
    if walk.atoms.size(axis.atom) == size:
        return axis
    walk.atoms.pin(axis.atom)
    return Axis(walk.atoms.new(size, True), axis.origin)


def split(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Cut one axis to a sum."""
    value, place = inputs[0], eqn.params["axis"]
    outputs, start = [], 0
    for size in eqn.params["sizes"]:
        part = _range(walk, value.axes[place], start, start + size)
        outputs.append([part if i == place else axis for i, axis in enumerate(value.axes)])
        start += size
    return outputs


def dynamic_slice(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin axes of which a part is taken."""
    return [[_part(walk, *pair) for pair in zip(inputs[0].axes, eqn.params["slice_sizes"], strict=True)]]


def dynamic_update_slice(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin axes of which a part is replaced, and join the others."""
    operand, update = inputs[:2]
    axes = []
    for axis, other in zip(operand.axes, update.axes, strict=True):
        if walk.atoms.size(axis.atom) == walk.atoms.size(other.atom):
            axes.append(walk.join(axis, other))
        else:
            walk.atoms.pin(axis.atom)
            walk.atoms.pin(other.atom)
            axes.append(axis)
    return [axes]


def pad(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Make a sum of an axis and what stands before and after it; pin what is cropped or spread out."""
    axes = []
    for axis, (low, high, interior), size in zip(
        inputs[0].axes, eqn.params["padding_config"], shape_of(eqn.outvars[0]), strict=True
    ):
        if low < 0 or high < 0 or interior:
            walk.atoms.pin(axis.atom)
            axes.append(Axis(walk.atoms.new(size, True), axis.origin))
        else:
            ends = [walk.atoms.new(low), axis.atom, walk.atoms.new(high)]
            axes.append(Axis(walk.atoms.sum(ends), axis.origin))
    return [axes]


def reverse(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin the axes that are reversed."""
    for i in eqn.params["dimensions"]:
        walk.atoms.pin(inputs[0].axes[i].atom)
    return [inputs[0].axes]


def iota(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin the axis that is counted along."""
    return [[walk.fresh(size, i == eqn.params["dimension"]) for i, size in enumerate(shape_of(eqn.outvars[0]))]]


def random_keys(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin keys of random numbers, which are no values yet."""
    return [walk.pinned(shape_of(var)) for var in eqn.outvars]


def dot_general(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Join contracted axes, and batch axes; the others go on, after the batch axes."""
    contracted, batch = eqn.params["dimension_numbers"]
    free = [
        [i for i in range(len(value.axes)) if i not in (*summed, *mapped)]
        for value, summed, mapped in zip(inputs, contracted, batch, strict=True)
    ]
    for value, other, summed, mapped, rest in zip(inputs, inputs[::-1], contracted, batch, free, strict=True):
        if value.kind == PARAMETER and other.kind != PARAMETER:
            if summed:
                walk.use(value, "kernel", in_axes=summed, out_axes=rest, batch_axes=mapped)
            else:
                walk.use(value, "scale", out_axes=(*mapped, *rest))
    one, other = inputs
    for i, j in zip(*contracted, strict=True):
        walk.join(one.axes[i], other.axes[j])
    shared = [walk.join(one.axes[i], other.axes[j]) for i, j in zip(*batch, strict=True)]
    return [[*shared, *(one.axes[i] for i in free[0]), *(other.axes[j] for j in free[1])]]


def convolution(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs | None:
    """Join features with the kernel's inputs, by groups; pin windows and places."""
    groups = eqn.params["feature_group_count"]
    if eqn.params["batch_group_count"] != 1:
        return None
    numbers = eqn.params["dimension_numbers"]
    (row, feature, *places), (unit, weight, *window), (out_row, out_unit, *_) = numbers
    image, kernel = inputs
    if kernel.kind == PARAMETER and image.kind != PARAMETER:
        walk.use(kernel, "kernel", in_axes=[weight], out_axes=[unit], window_axes=window)
    if image.kind == PARAMETER:
        walk.use(image, None)
    for axis in (*(image.axes[i] for i in places), *(kernel.axes[i] for i in window)):
        walk.atoms.pin(axis.atom)
    units, weights = kernel.axes[unit], kernel.axes[weight]
    size = walk.atoms.size
    parts = walk.atoms.split_factors(image.axes[feature].atom, (groups, size(weights.atom)))
    made = walk.atoms.split_factors(units.atom, (groups, size(units.atom) // groups))
    if parts is None or made is None:
        for axis in (image.axes[feature], units, weights):
            walk.atoms.pin(axis.atom)
    else:
        walk.atoms.join(parts[0], made[0])
        walk.atoms.join(parts[1], weights.atom)
    axes = list(walk.pinned(shape_of(eqn.outvars[0])))
    axes[out_row], axes[out_unit] = image.axes[row], units
    return [axes]


def pooling(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin the axes that windows move along."""
    params = eqn.params
    dilation = [params.get(name) or (1,) * len(params["padding"]) for name in ("base_dilation", "window_dilation")]
    still = [
        size == stride == base == 1 and tuple(padding) == (0, 0)
        for size, stride, padding, base in zip(
            params["window_dimensions"], params["window_strides"], params["padding"], dilation[0], strict=True
        )
    ]
    outputs = []
    for value, var in zip(inputs, eqn.outvars, strict=False):
        axes = []
        for axis, keeps, size in zip(value.axes, still, shape_of(var), strict=True):
            if not keeps:
                walk.atoms.pin(axis.atom)
            axes.append(axis if keeps else walk.fresh(size, True))
        outputs.append(axes)
    return outputs


def gather(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin the axes that are indexed; whole ones go on, as do the axes of the indices."""
    operand, indices = inputs
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    walk.atoms.pin(indices.axes[-1].atom)
    mapped = dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True))
    rows = {i: axis for i, axis in enumerate(indices.axes[:-1])}
    for i, j in mapped.items():
        rows[j] = walk.join(operand.axes[i], indices.axes[j])
    moved = [i for i in range(len(sizes)) if i not in numbers.collapsed_slice_dims and i not in mapped]
    window = []
    for i, axis in enumerate(operand.axes):
        if i in mapped:
            continue
        if i in numbers.start_index_map:
            walk.atoms.pin(axis.atom)
        part = _part(walk, axis, sizes[i])
        if i in moved:
            window.append(part)
    places = range(len(shape_of(eqn.outvars[0])))
    ends = iter(window), iter(rows[i] for i in sorted(rows))
    axes = tuple(next(ends[0]) if i in numbers.offset_dims else next(ends[1]) for i in places)
    if operand.kind != PARAMETER:
        return [axes]
    if indices.kind == DATA or len(indices.axes) > 1:
        walk.use(operand, "embedding", batch_axes=[i for i in range(len(sizes)) if i not in moved], out_axes=moved)
        return [Value(axes, max(operand.kind, indices.kind))]
    dropped = [operand.axes[i].origin for i in numbers.collapsed_slice_dims]
    return [operand._replace(axes=axes, indexed=operand.indexed.union(*dropped))]


def scatter(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Pin the axes that are indexed; join whole ones with those of the updates, and these with those of the indices."""
    operand, indices, updates = inputs
    numbers = eqn.params["dimension_numbers"]
    walk.atoms.pin(indices.axes[-1].atom)
    mapped = dict(zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True))
    windows = iter(numbers.update_window_dims)
    axes = list(operand.axes)
    for i, axis in enumerate(operand.axes):
        if i in mapped:
            axes[i] = walk.join(axis, indices.axes[mapped[i]])
        elif i in numbers.inserted_window_dims:
            walk.atoms.pin(axis.atom)
        else:
            update = updates.axes[next(windows)]
            if walk.atoms.size(update.atom) == walk.atoms.size(axis.atom):
                walk.atoms.join(axis.atom, update.atom)
            else:
                walk.atoms.pin(update.atom)
                walk.atoms.pin(axis.atom)
            if i in numbers.scatter_dims_to_operand_dims:
                walk.atoms.pin(axis.atom)
    rows = [axis for i, axis in enumerate(updates.axes) if i not in numbers.update_window_dims]
    for row, index in zip(rows, indices.axes[:-1], strict=True):
        walk.join(row, index)
        if eqn.primitive.name == "scatter":  # The last of several updates of one place wins.
            walk.atoms.pin(row.atom)
    return [axes]


def call(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs | None:
    """Walk over what is called, unless it sees other shapes (shards)."""
    inner = next(eqn.params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in eqn.params)
    jaxpr, _ = opened(inner)
    if [shape_of(var) for var in jaxpr.invars] != [shape_of(var) for var in eqn.invars]:
        return None
    return walk.run(inner, inputs)


def _loop(walk: Walk, body: Any, consts: list[Value], carry: list[Value], rest: list[Value]) -> list[Value]:
    """Walk over the body of a loop once, what it carries joined with what it returns; and return its outputs."""
    jaxpr, _ = opened(body)
    slots = range(len(carry))
    passed = [jaxpr.outvars[i] is jaxpr.invars[len(consts) + i] for i in slots]
    carried = [value if keeps else Value(value.axes, DATA) for value, keeps in zip(carry, passed, strict=True)]
    outputs = walk.run(body, [*consts, *carried, *rest])
    for value, output in zip(carried, outputs, strict=False):
        for one, other in zip(value.axes, output.axes, strict=True):
            walk.join(one, other)
    return [*carried, *outputs[len(carry) :]]


def scan(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Join what is carried; stacked axes are one, and pinned."""
    first, num_carry = scan_counts(eqn)
    last = first + num_carry
    steps = walk.fresh(eqn.params["length"], True)
    rest = []
    for value in inputs[last:]:
        stacked, *axes = value.axes
        walk.join(stacked, steps)
        indexed = value.indexed | stacked.origin if value.kind == PARAMETER else value.indexed
        rest.append(value._replace(axes=tuple(axes), indexed=indexed))
    outputs = _loop(walk, eqn.params["jaxpr"], inputs[:first], inputs[first:last], rest)
    stacks = [value._replace(axes=(steps, *value.axes)) for value in outputs[num_carry:]]
    return [*outputs[:num_carry], *stacks]


def while_(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Join what is carried."""
    first, second = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    consts, carry = inputs[first : first + second], inputs[first + second :]
    outputs = _loop(walk, eqn.params["body_jaxpr"], consts, carry, [])
    walk.run(eqn.params["cond_jaxpr"], [*inputs[:first], *outputs])
    return outputs


def cond(walk: Walk, eqn: Any, inputs: list[Value]) -> Outputs:
    """Join the outputs of all branches."""
    branches = [walk.run(branch, inputs[1:]) for branch in eqn.params["branches"]]
    outputs = []
    for values in zip(*branches, strict=True):
        axes = list(values[0].axes)
        for other in values[1:]:
            axes = [walk.join(*pair) for pair in zip(axes, other.axes, strict=True)]
        outputs.append(Value(tuple(axes), DATA))
    return outputs


ELEMENTWISE = """
abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz complex conj
convert_element_type copy copy_p cos cosh digamma div eq eq_to erf erf_inv erfc exp exp2 expm1 floor ge gt igamma
igamma_grad_a igammac imag integer_pow is_finite le le_to lgamma log log1p logistic lt lt_to max min mul ne neg
nextafter not or polygamma population_count pow random_gamma_grad real reduce_precision regularized_incomplete_beta rem
round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub
tan tanh xor zeta
"""
ALONE = "device_put mesh_cast optimization_barrier pbroadcast pcast pvary reshard sharding_constraint"
CALLS = """
checkpoint closed_call composite core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr jit named_call pjit
remat remat2 shard_map
"""
REDUCTIONS = "reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor"
POOLINGS = "reduce_window reduce_window_max reduce_window_min reduce_window_sum"
SCATTERS = "scatter scatter-add scatter-sub scatter_max scatter_min scatter_mul"
KEYS = "random_clone random_fold_in random_seed random_split random_unwrap random_wrap"

RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE.split(), elementwise),
    **dict.fromkeys(ALONE.split(), each_alone),
    **dict.fromkeys(CALLS.split(), call),
    **dict.fromkeys(REDUCTIONS.split(), reduction),
    **dict.fromkeys(("argmax", "argmin"), first_index),
    **dict.fromkeys(KEYS.split(), random_keys),
    **dict.fromkeys(POOLINGS.split(), pooling),
    **dict.fromkeys(SCATTERS.split(), scatter),
    "bitcast_convert_type": bitcast,
    "broadcast_in_dim": broadcast,
    "concatenate": concatenate,
    "cond": cond,
    "conv_general_dilated": convolution,
    "dot_general": dot_general,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "gather": gather,
    "iota": iota,
    "pad": pad,
    "reshape": reshape,
    "rev": reverse,
    "scan": scan,
    "slice": slice_,
    "split": split,
    "squeeze": squeeze,
    "transpose": transpose,
    "while": while_,
}
