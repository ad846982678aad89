"""Forward passes in which every row sees weights of its own: Gaussian noise in what layers put out.

The local reparametrisation trick (Kingma et al. 2015, arXiv 1506.02557), with covariances of low rank as in Tomczak et
al. (2020, "Efficient low rank Gaussian variational inference for neural networks"): for a layer with weights
W = M + S * xi + sum over r of eps_r V_r, what a row x puts out is x M, plus noise of variance x^2 S^2, plus
sum over r of eps_r (x V_r) with one eps_r for the row and the layer. Rows of a convolution have noise of their own at
every position, and so less covariance between positions than one draw of its weights has.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.module import InterceptorContext

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.types import Array, Frozen, Key, Model, Params

LINEAR = (nn.Dense, nn.Conv)


def local_layers(model: Model, frozen: Frozen) -> frozenset[str]:
    """Return the paths of the dense layers and convolutions that can have noise in what they put out; Linen's alone."""
    shapes = trees.flatten(model.params_shape)
    found: set[str] = set()

    def look(call: Any, args: Any, kwargs: Any, context: InterceptorContext) -> Any:
        path = _path_of(context)
        kernel = shapes.get(f"{path}/kernel".lstrip("/"))
        if (
            path is not None
            and kernel is not None
            and context.module.get_variable("params", "kernel").shape == kernel.shape
        ):
            found.add(path)
        return call(*args, **kwargs)

    with nn.intercept_methods(look):
        # A function of its own, for JAX keeps what it has traced.
        jax.eval_shape(lambda *given: model.forward(*given), model.params_shape, frozen, model.example)
    return frozenset(found)


def forward_with_noise(
    model: Model, params: Params, frozen: Frozen, inputs: Array, key: Key, variances: Params, factors: Params
) -> Array:
    """Run a network whose local layers have noise.

    Parameters
    ----------
    model, frozen : the network.
    params : effective parameters, of local layers their means.
    inputs : [rows, ...].
    key : of the noise.
    variances : local layer -> its parameters' variances beside the factors, by name (``kernel``, ``bias``).
    factors : local layer -> [rank, ...] V_r / sqrt(rank), by name.

    Returns
    -------
    Outputs [rows, ...].

    Raises
    ------
    InputError
        If a layer does not see one row for every input.
    """
    num_rows, is_inside = len(inputs), False

    def add_noise(call: Any, args: Any, kwargs: Any, context: InterceptorContext) -> Any:
        nonlocal is_inside
        y, path = call(*args, **kwargs), _path_of(context)
        if is_inside or path is None or path not in variances:
            return y
        (x,) = args
        if x.shape[0] != num_rows:
            raise InputError(
                f"{path} sees {x.shape[0]} rows of {num_rows} inputs; give local=False for draws that rows share"
            )
        own = rng.named_key(key, path)
        layer = context.module.clone(parent=None, name=None)

        def run(weights: dict[str, Array], x: Array) -> Array:
            return layer.apply({"params": weights}, x)  # type: ignore[return-value]

        is_inside = True  # The layer is run again with other weights, and may be the whole network.
        variance = run(variances[path], jnp.square(x))
        parts = jax.vmap(run, in_axes=(0, None))(factors[path], x)
        is_inside = False
        rank = len(parts)
        eps = jax.random.normal(rng.named_key(own, "rows"), (rank, num_rows, *[1] * (y.ndim - 1)))
        noise = jax.random.normal(rng.named_key(own, "outputs"), y.shape)
        return y + jnp.sqrt(jnp.maximum(variance, 0) + TINY) * noise + jnp.sum(eps * parts, axis=0)

    with nn.intercept_methods(add_noise):
        return model.forward(params, frozen, inputs)


TINY = 1e-20
"""Keeps the gradient of a root at zero finite."""


def _path_of(context: InterceptorContext) -> str | None:
    """Return the path of a dense layer or convolution that is called, ``""`` if it is the network; else None."""
    is_local = context.method_name == "__call__" and isinstance(context.module, LINEAR)
    return "/".join(context.module.path) if is_local else None
