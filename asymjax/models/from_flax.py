"""Any Flax network as a :class:`~asymjax.types.Model`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.errors import InputError, choose
from asymjax.models.build import assemble
from asymjax.models.flax_modules import as_network, filled
from asymjax.models.methods import Method, Standard
from asymjax.models.network import Activate, Network, Reading, read, sites_of
from asymjax.models.settled import DEFAULT_PRIOR
from asymjax.models.templates import TEMPLATES, make_run
from asymjax.priors import NormalPrior
from asymjax.types import Array, Graph, Model, Params, PyTree

TOLERANCE = 1e-3
"""Largest difference of outputs, relative to their spread, that may come from rounding."""


def from_flax(
    module_or_make: Any,
    example: Any,
    method: Method = Standard(),  # noqa: B008 - frozen
    *,
    activations: Mapping[str, Callable[[Array], Array]] | None = None,
    sites: Sequence[str] | None = None,
    prior: NormalPrior = DEFAULT_PRIOR,
    check: bool = True,
) -> Model:
    """Build the pure functions of a Flax network under a method.

    Layers and permutations are read from the jaxpr. Methods act on kernels: on what is multiplied with data and summed.

    Parameters
    ----------
    module_or_make : a Linen module, or what makes an NNX module: ``make(rngs: nnx.Rngs)``, run in evaluation mode.
    example : inputs [rows, ...] or their ``jax.ShapeDtypeStruct``; a tuple for a module of several inputs, or any tree.
        Integers should be valid ones, as token numbers.
    method : the symmetry-breaking method.
    activations : name -> function; activations of the user's own that gates replace where they are called.
    sites : names of the activation sites that gates replace; all unless given. Sites are the ``asymjax.Activation``
        modules of the network, named by their paths; if there are none, calls of relu, silu, tanh and gelu and of
        ``activations``, named ``gelu_0``, ``gelu_1``, ... in the order of the forward pass. Gates mix the last axis,
        or the one that an ``Activation`` names.
    prior : the prior of the kernels, whose scale is syre's default.
    check : whether to try by numbers the permutations, that rows are independent and that gates change the outputs.

    Raises
    ------
    InputError
        If the network is none of these; a call of it draws random numbers or changes its state; outputs are not one
        array [rows, ...]; rows depend on each other; or it has nothing, or a kernel of several roles, where the method
        acts.
    ReadingError
        If a permutation changes the outputs.

    Examples
    --------
    >>> import numpy as np, asymjax
    >>> from flax import linen as nn
    >>> module = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    >>> model = asymjax.from_flax(module, np.zeros((1, 4), np.float32), asymjax.WAsym(num_fixed=1))
    >>> model.layers["layers_0/kernel"].fan_in, model.layers["layers_2/kernel"].is_output
    (4, True)
    """
    if not isinstance(method, Method):
        raise InputError(f"method is {method!r}; give one with its settings, as asymjax.WAsym()")
    example = np.asarray(example, np.float32) if isinstance(example, list) else example
    network = as_network(module_or_make, example)
    if not sites_of(network):
        network = network._replace(run=make_run(network.apply, TEMPLATES | dict(activations or {})))
    network = _with_sites(network, sites)
    _check_outputs(network)
    reading = read(network, check=check)
    _check_roles(network, reading, method)
    if check and not isinstance(example, Graph):
        _check_rows(network)
    model = assemble(network, reading, method, prior)
    if check and _acts_on(method, "gate"):
        _check_gates(network, model)
    return model


def _acts_on(method: Method, part: str) -> bool:
    """Return whether a method freezes kernels, biases or gates."""
    return getattr(type(method), f"freeze_{part}") is not getattr(Method, f"freeze_{part}")


def _with_sites(network: Network, chosen: Sequence[str] | None) -> Network:
    """Return the network with some of its sites alone."""
    if chosen is None:
        return network
    known = sites_of(network)
    for site in chosen:
        choose(known, site, "activation site")

    def run(params: Params, x: Any, activate: Activate) -> PyTree:
        def at(site: str, fn: Callable[[Array], Array], x: Array, feature_axis: int) -> Array:
            return activate(site, fn, x, feature_axis) if site in chosen else fn(x)

        return network.run(params, x, at)

    return network._replace(run=run)


def _check_outputs(network: Network) -> None:
    """Refuse what has no rows, in or out."""
    params = jax.eval_shape(network.init, jax.random.key(0))
    outputs = jax.eval_shape(network.apply, params, network.example)
    leaves = jax.tree.leaves(network.example)
    if not isinstance(network.example, Graph) and len({np.shape(leaf)[:1] for leaf in leaves} | {()}) != 2:
        shapes = ", ".join(str(np.shape(leaf)) for leaf in leaves)
        raise InputError(
            f"the example has leaves of shapes {shapes}; inputs have rows on their first axis, and as many"
        )
    if not isinstance(outputs, jax.ShapeDtypeStruct) or len(outputs.shape) < 2:
        found = jax.tree.map(lambda leaf: leaf.shape, outputs)
        raise InputError(f"{network.name} returns {found}; a model returns one array [rows, outputs]")


def _check_roles(network: Network, reading: Reading, method: Method) -> None:
    """Refuse a method that has nothing to act on, or something that is not one thing."""
    if _acts_on(method, "gate") and not reading.sites:
        raise InputError(
            f"{_name(method)} needs activations and found none outside scans in {network.name}. Write "
            'asymjax.Activation(nn.gelu) in the module, or pass activations={"name": fn}'
        )
    layers, several = reading.symmetries.layers, reading.symmetries.several_roles
    for role in ("kernel", "bias"):
        if not _acts_on(method, role):
            continue
        found = [path for path, layer in layers.items() if layer.role == role]
        if not found:
            roles = ", ".join(f"{path} ({layer.role})" for path, layer in layers.items()) or "no parameters"
            raise InputError(f"{_name(method)} acts on the role {role}, which no leaf of {network.name} has: {roles}")
        twice = [path for path in found if path in several]
        if twice:
            raise InputError(
                f"{_name(method)} acts on leaves of the role {role}, but {', '.join(twice)} of {network.name} is "
                "used in several ways; use a leaf of its own for each"
            )


def _name(method: Method) -> str:
    return type(method).__name__


def _random_rows(network: Network, num_rows: int) -> Any:
    """Return inputs of a number of rows: random ones, integers those of the example."""
    generator = np.random.default_rng(0)

    def draw(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return generator.standard_normal((num_rows, *leaf.shape[1:])).astype(leaf.dtype)
        return jnp.resize(leaf, (num_rows, *leaf.shape[1:]))

    return jax.tree.map(draw, filled(network.example))


def _random_params(network: Network) -> Params:
    """Return a fresh network, everything moved a little, since much starts at zero."""
    generator = np.random.default_rng(1)
    params = trees.to_host(jax.jit(network.init)(jax.random.key(1)))
    return jax.tree.map(
        lambda leaf: leaf + leaf.dtype.type(0.1) * generator.standard_normal(leaf.shape).astype(leaf.dtype), params
    )


def _relative_change(*outputs: Any) -> float:
    one, other = (np.asarray(out).astype(complex if np.iscomplexobj(out) else float) for out in outputs)
    return float(np.max(np.abs(one - other)) / (np.std(one) + 1e-12))


def _check_rows(network: Network) -> None:
    """Refuse a network whose outputs of a row depend on other rows: a likelihood is a sum over rows."""
    params, x = _random_params(network), _random_rows(network, 3)
    apply = jax.jit(network.apply)
    with jax.default_matmul_precision("highest"):
        together = apply(params, x)
        alone = np.concatenate([apply(params, jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], x)) for i in range(3)])
    if together.shape != alone.shape or not _relative_change(together, alone) < TOLERANCE:
        raise InputError(
            f"rows of {network.name} depend on each other, so that no likelihood is a sum over rows: a norm over rows, "
            "or another axis first? Run norms on their running averages, and give rows on the first axis"
        )


def _check_gates(network: Network, model: Model) -> None:
    """Refuse gates that change nothing, as on an output that is not used."""
    params, x = _random_params(network), _random_rows(network, 3)
    frozen = jax.jit(model.freeze)(jax.random.key(0))
    gated = jax.jit(model.forward)(params, frozen, x)
    if _relative_change(jax.jit(network.apply)(params, x), gated) < TOLERANCE:
        found = ", ".join(trees.flatten(frozen))
        raise InputError(f"the gates of {network.name}, {found}, change nothing; choose others by sites=")
