"""Alignment by gradients: soft permutations that lower the loss between two networks, rounded at the end.

Peña et al. (2023), "Re-basin via implicit Sinkhorn differentiation", arXiv 2212.12042, with the gradient taken through
the iterations. Where matching weights or activations only hopes for a low barrier, this descends it, on data.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from asymjax import trees
from asymjax.axes import flat
from asymjax.symmetry.alignment import assign
from asymjax.symmetry.permutations import Permutations, compose, identity, permute
from asymjax.types import Array, Key, Params, PermutationSpec, PyTree

NUM_ITERATIONS = 20


def sinkhorn(logits: Array) -> Array:
    """Return the doubly stochastic matrix [units, units] that rescaled rows and columns of exp(logits) come to.

    After ``NUM_ITERATIONS`` rounds columns sum to one, and rows nearly.
    """

    def normalise(logits: Array, _: None) -> tuple[Array, None]:
        logits = jax.nn.log_softmax(logits, axis=1)
        return jax.nn.log_softmax(logits, axis=0), None

    return jnp.exp(lax.scan(normalise, logits, None, length=NUM_ITERATIONS)[0])


def permute_softly(params: Params, spec: PermutationSpec, matrices: dict[str, Array]) -> Params:
    """Mix the units of a network; with permutation matrices P[i, permutation[i]] = 1 it is ``permute``."""
    mixed, whole = trees.flatten(params), flat(spec)
    for path in mixed:
        for axis, name in enumerate(whole[path]):
            if name is not None:
                mixed[path] = jnp.moveaxis(jnp.tensordot(matrices[name], mixed[path], (1, axis)), 0, axis)
    return trees.unflatten(mixed)


def sinkhorn_matching(
    loss: Callable[[Params, Any], Array],
    spec: PermutationSpec,
    reference: Params,
    params: Params,
    batch: PyTree,
    key: Key,
    start: Permutations | None = None,
    num_steps: int = 200,
    learning_rate: float = 0.1,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Match two networks by descending the loss at random points of the segment between them.

    Each step draws one point, uniform in (0, 1), mixes the units by Sinkhorn's matrices, and follows the gradient with
    Adam (Peña et al. 2023, the random-point cost). At the end the matrices are rounded by assignment. Rounding can lose
    what was gained: if the mean loss at the points drawn is not lower than at the start, the start is returned.

    Parameters
    ----------
    loss : (params, batch) -> []; of effective parameters.
    spec : see ``Model.permutation_spec``.
    reference : effective parameters that stay as they are.
    params : effective parameters of the network to permute.
    batch : what ``loss`` is evaluated on, the same in all steps.
    key : of the random points.
    start : permutations to begin near, such as those of :func:`weight_matching`; the identity by default.
    num_steps, learning_rate : of Adam, on the logits.

    Returns
    -------
    Permutation name -> int [units], as in :class:`~asymjax.symmetry.alignment.Matching`, and the losses [num_steps] of
    the soft matching.
    """
    begin = compose(identity(params, spec), start or {})
    networks = reference, permute(params, spec, begin)
    shares = jax.random.uniform(key, (num_steps,))
    optimizer = optax.adam(learning_rate)
    # Half of each unit's weight lies on where it begins.
    logits = {name: jnp.log(max(len(units) - 1.0, 1.0)) * jnp.eye(len(units)) for name, units in begin.items()}

    def at(share: Array, networks: tuple[Params, Params], batch: PyTree) -> Array:
        return loss(jax.tree.map(lambda a, b: a + share * (b - a), *networks), batch)

    def soft_loss(logits: PyTree, share: Array, networks: tuple[Params, Params], batch: PyTree) -> Array:
        mixed = permute_softly(networks[1], spec, jax.tree.map(sinkhorn, logits))
        return at(share, (networks[0], mixed), batch)

    @jax.jit
    def descend(logits: PyTree, shares: Array, networks: tuple[Params, Params], batch: PyTree) -> tuple[PyTree, Array]:
        def step(state: tuple[PyTree, PyTree], share: Array) -> tuple[tuple[PyTree, PyTree], Array]:
            value, grad = jax.value_and_grad(soft_loss)(state[0], share, networks, batch)
            updates, moments = optimizer.update(grad, state[1])
            return (optax.apply_updates(state[0], updates), moments), value

        (logits, _), losses = lax.scan(step, (logits, optimizer.init(logits)), shares)
        return jax.tree.map(sinkhorn, logits), losses

    @jax.jit
    def hard_loss(shares: Array, networks: tuple[Params, Params], batch: PyTree) -> Array:
        return jnp.mean(lax.map(lambda share: at(share, networks, batch), shares))

    matrices, losses = descend(logits, shares, networks, batch)
    found = {name: assign(np.asarray(matrix)) for name, matrix in matrices.items()}
    rounded = reference, permute(networks[1], spec, found)
    is_better = hard_loss(shares, rounded, batch) < hard_loss(shares, networks, batch)
    permutations = compose(begin, found) if is_better else begin
    return {name: np.asarray(units) for name, units in permutations.items()}, np.asarray(losses)
