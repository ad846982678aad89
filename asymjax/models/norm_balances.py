"""Flat directions of what enters a LayerNorm, beyond its common shifts and scale.

After a norm over units unit j is g_j w_j.x / sqrt(x.Q x): x is what the layer reads, and 1 for the bias, w_j the
weights of unit j less their mean over units, g_j the norm's scale, and Q the sum over units of w_j w_j^T. So weights
can change as long as Q does not, but for a factor, and g_j makes up for what becomes of the length of w_j: n units that
read d things, 1 among them, can in n - d - d (d + 1) / 2 ways, if that is above zero. Units on which the outputs do not
depend enter by Q alone, and rotate into each other: three or more of them, by as many angles as fixed weights leave.
"""

import numpy as np

from asymjax.models.structure import Map, Units

# Unknowns up to which the linear equations are solved; it takes a second.
MAX_UNKNOWNS = 1200


def norm_balances(maps: list[Map], units: Units) -> tuple[dict[str, int], list[str]]:
    """Count these flat directions at generic weights.

    Parameters
    ----------
    maps : of all kernels and biases, idle entries zero.
    units : which take part.

    Returns
    -------
    norm -> their number where it is above zero, and the norms at which there may be more: where there are too many
    unknowns, where the norm is over pixels too, or where fixed values scale along with other layers.
    """
    counts, unsure = {}, []
    for place in {one.place: None for one in maps if one.is_kernel and one.norm == "layer"}:
        fed = [one for one in maps if one.place == place]
        is_felt = ~units.is_out(fed[0].writes or "")
        rows = np.concatenate([one.values.reshape(-1, len(is_felt)) for one in fed])
        rows = rows[np.isnan(rows).any(axis=1) | (np.ptp(rows, axis=1) > 0)]
        num_unread, d = int(np.sum(~is_felt)), len(rows)
        num_lengths = int(is_felt.sum()) + num_unread * d
        if not is_felt.any() or (num_unread < 3 and num_lengths <= d + d * (d + 1) // 2):
            continue
        if not all(one.has_shifts for one in fed) or num_lengths + d + 1 > MAX_UNKNOWNS:
            unsure.append(place)
            continue
        scales = all(np.ptp(row[~np.isnan(row)]) == 0 for row in rows if not np.isnan(row).all())
        counts[place] = _num_solutions(rows, is_felt) - int(np.isnan(rows).all(axis=1).sum()) - int(scales)
        unsure += [] if scales else [place]
    return {place: count for place, count in counts.items() if count}, unsure


def _num_solutions(rows: np.ndarray, is_felt: np.ndarray) -> int:
    """Return the dimension of the changes of weights [d, units], NaN where free, that a norm undoes.

    The unknowns are the relative change of the length of each w_j that is felt, all entries of the others, the shift of
    each row, and the factor of Q; the equations that the w_j have no mean, that Q changes by a factor alone, and that
    what is fixed stays.
    """
    generator, (d, num_units) = np.random.default_rng(0), rows.shape
    weights = np.where(np.isnan(rows), generator.standard_normal(rows.shape), rows)
    weights -= weights.mean(axis=1, keepdims=True)
    felt, unread = np.flatnonzero(is_felt), np.flatnonzero(~is_felt)
    changes = np.zeros((len(felt) + d * len(unread), d, num_units))
    changes[np.arange(len(felt)), :, felt] = weights[:, felt].T
    at_row, at_unit = np.repeat(np.arange(d), len(unread)), np.tile(unread, d)
    changes[len(felt) + np.arange(len(at_row)), at_row, at_unit] = 1.0
    upper, fixed = np.triu_indices(d), np.nonzero(~np.isnan(rows))
    squares = changes @ weights.T
    squares = (squares + squares.transpose(0, 2, 1))[:, upper[0], upper[1]]
    num_squares, num_fixed = squares.shape[1], len(fixed[0])
    shifts = np.zeros((d, d + num_squares + num_fixed))
    shifts[fixed[0], d + num_squares + np.arange(num_fixed)] = 1.0
    factor = np.concatenate([np.zeros(d), (weights @ weights.T)[upper], np.zeros(num_fixed)])
    equations = np.concatenate(
        [np.concatenate([changes.sum(axis=2), squares, changes[:, fixed[0], fixed[1]]], axis=1), shifts, factor[None]]
    )
    lengths = np.linalg.norm(equations, axis=1, keepdims=True)
    return len(equations) - int(np.linalg.matrix_rank(equations / np.where(lengths > 0, lengths, 1.0), 1e-9))
