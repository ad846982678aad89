"""The complete equivariant linear map written down pair by pair: the plain way, beside asymjax.metanets.linear.

For every pair of arrays, and for every partition of the axes of both into blocks of one name, what is read is averaged
over blocks that it alone has, multiplied by a matrix of its own, and repeated over blocks that only what is written has
(Zhou et al. 2024, arXiv 2402.05232, theorem 3.1). Its matrices are those of the library's map, cut into pieces, so that
both are the same function. Arrays with the same axes are joined before, here as there.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp

from asymjax.metanets import linear as by_hubs
from asymjax.metanets.linear import Index, Linear, View

Piece = tuple[Index | None, Index, tuple[int, ...]]
"""An array that is read, none for a bias; one that is written; and the block of every axis of both."""


def partitions(names: Index) -> Iterator[tuple[int, ...]]:
    """Yield every way to put axes into blocks of one name, as the block of each axis, numbered as they come."""
    if not names:
        yield ()
        return
    for blocks in partitions(names[:-1]):
        own = {block for block, name in zip(blocks, names, strict=False) if name == names[-1]}
        for block in (*sorted(own), max(blocks, default=-1) + 1):
            yield (*blocks, block)


def pieces(num_in: Mapping[Index, int], num_out: Mapping[Index, int]) -> list[Piece]:
    """Return all maps between arrays, and all biases."""
    sources: list[Index | None] = [*num_in, None]
    return [
        (source, target, blocks)
        for target in num_out
        for source in sources
        for blocks in partitions((source or ()) + target)
    ]


def linear(sizes: Mapping[str, int], num_in: Mapping[Index, int], num_out: Mapping[Index, int]) -> Linear:
    """Return the map; see :func:`asymjax.metanets.linear.linear`."""
    whole, every = by_hubs.linear(sizes, num_in, num_out), pieces(num_in, num_out)

    def init(key: Any) -> dict[str, Any]:
        matrices = whole.init(key)
        return {str(piece): _cut(matrices, piece, num_in, num_out) for piece in every}

    def apply(matrices: Mapping[str, Any], features: Mapping[Index, Any]) -> dict[Index, Any]:
        written: dict[Index, Any] = {}
        for piece in every:
            source, target, blocks = piece
            read = jnp.ones(1) if source is None else features[source]
            term = _map(read, matrices[str(piece)], blocks, [sizes[name] for name in target])
            written[target] = written[target] + term if target in written else term
        return written

    return Linear(init, apply)


def _map(array: Any, matrix: Any, blocks: tuple[int, ...], sizes: list[int]) -> Any:
    """Apply one map: average, multiply, repeat."""
    rank = array.ndim - 1
    read, written, channel = blocks[:rank], blocks[rank:], len(blocks)
    shared = sorted(set(read) & set(written))
    dropped = {block: array.shape[axis] for axis, block in enumerate(read) if block not in shared}
    hub = jnp.einsum(array, [*read, channel], [*shared, channel]) / math.prod(dropped.values()) @ matrix
    factors: list[Any] = [hub, [*shared, channel]]
    labels, seen = [], set(shared)
    for axis, (block, size) in enumerate(zip(written, sizes, strict=True)):
        label = block if block not in labels else channel + 1 + axis
        if label != block:
            factors += [jnp.eye(size), [block, label]]
        elif block not in seen:
            factors += [jnp.ones(size), [block]]
        labels.append(label)
    return jnp.einsum(*factors, [*labels, channel])


def _cut(matrices: Mapping[str, Any], piece: Piece, num_in: Mapping[Index, int], num_out: Mapping[Index, int]) -> Any:
    """Return the piece of the library's matrix that leads from one array to another by one partition."""
    source, target, blocks = piece
    read = blocks[: len(source or ())]
    written = blocks[len(read) :]
    order = {block: number for number, block in enumerate(dict.fromkeys(written))}
    shared = [block for block in order if block in read]
    key = tuple(target[written.index(block)] for block in shared)
    hub = by_hubs._hubs(num_in, num_out)[key]
    out = (target, View(tuple(order[block] for block in written), tuple(order[block] for block in shared), key))
    matrix = matrices[by_hubs.name_of(key)]
    columns = _place([(way, num_out[way[0]]) for way in hub.expansions], out)
    if source is None:
        return matrix[-1:, columns]
    into = (source, View(read, tuple(shared), key))
    return matrix[_place([(way, num_in[way[0]]) for way in hub.contractions], into), columns]


def _place(ways: list[tuple[tuple[Index, View], int]], sought: tuple[Index, View]) -> slice:
    """Return where the channels of one way to a hub, or from it, are among those of all."""
    start = 0
    for way, size in ways:
        if way == sought:
            return slice(start, start + size)
        start += size
    raise LookupError(sought)
