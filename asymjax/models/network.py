"""A network as a pure function of its parameters, with activation sites that a method can reach."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models.reading import find_symmetries
from asymjax.models.reading.find import with_norms
from asymjax.types import Array, Axis, Fixed, Key, Params, Perm, PermutationSpec, PyTree, Symmetries

# (site, the network's own activation, x, feature axis) -> activations.
Activate = Callable[[str, Callable[[Array], Array], Array, int], Array]


class Activation(nn.Module):
    """An activation that methods may replace by a gate; a module in Linen, an attribute like any function in NNX.

    Attributes
    ----------
    fn : the function.
    axis : axis of the features, which a gate mixes.

    Examples
    --------
    >>> import numpy as np, asymjax
    >>> from flax import linen as nn
    >>> module = nn.Sequential([nn.Dense(4), asymjax.Activation(nn.gelu), nn.Dense(1)])
    >>> asymjax.from_flax(module, np.zeros((2, 3), np.float32), asymjax.SigmaAsym()).permutation_spec["layers_1"]
    ('layers_0',)
    """

    fn: Callable[[Array], Array]
    axis: int = -1

    def __call__(self, x: Array) -> Array:
        """Return the activations of x."""
        return self.fn(x)


class Network(NamedTuple):
    """A network without a method.

    Attributes
    ----------
    name : what it is called in messages.
    init : (key) -> params, dictionaries of dictionaries with names as keys.
    apply : (params, x) -> outputs.
    run : (params, x, activate) -> outputs, with what ``activate`` returns at every site.
    example : inputs, a tree of arrays or of ``jax.ShapeDtypeStruct``.
    has_scan : whether activation sites stand in a scan, so that what enters them cannot be read.
    """

    name: str
    init: Callable[[Key], Params]
    apply: Callable[[Params, Any], PyTree]
    run: Callable[[Params, Any, Activate], PyTree]
    example: Any
    has_scan: bool = False


class Reading(NamedTuple):
    """What is read of a network.

    Attributes
    ----------
    params : parameter path -> ``jax.ShapeDtypeStruct``, in the order of the forward pass.
    symmetries : of its parameters, in the same order.
    sites : activation site -> width.
    spec : see ``Model.permutation_spec``.
    """

    params: dict[str, jax.ShapeDtypeStruct]
    symmetries: Symmetries
    sites: dict[str, int]
    spec: PermutationSpec


def sites_of(network: Network) -> dict[str, int]:
    """Return the width of every activation site.

    Raises
    ------
    InputError
        If a site is used at two widths.
    """
    sites: dict[str, int] = {}

    def record(site: str, fn: Callable[[Array], Array], x: Array, feature_axis: int) -> Array:
        width = x.shape[feature_axis]
        if sites.setdefault(site, width) != width:
            raise InputError(f"{site} is used at widths {sites[site]} and {width}; give each its own Activation")
        return fn(x)

    params = jax.eval_shape(network.init, jax.random.key(0))
    jax.eval_shape(lambda params, x: network.run(params, x, record), params, network.example)
    return sites


def read(network: Network, *, check: bool) -> Reading:
    """Read a network and its activation sites from its jaxpr.

    Every site is given a vector that its features are multiplied by, and that is read as a parameter is.

    Raises
    ------
    InputError, ReadingError
        See :func:`~asymjax.models.reading.find_symmetries`.
    """
    params: dict[str, jax.ShapeDtypeStruct] = {}

    def init(key: Key) -> Params:
        made = network.init(key)
        params.update(in_order(made))
        return made

    shapes = trees.flatten(jax.eval_shape(init, jax.random.key(0)))
    params = {path: shapes[path] for path in params}
    sites = sites_of(network)
    probes = {site: jax.ShapeDtypeStruct((width,), jnp.float32) for site, width in sites.items()}

    def probed(tree: PyTree, x: Any) -> PyTree:
        leaves = trees.flatten(tree)

        def activate(site: str, fn: Callable[[Array], Array], x: Array, feature_axis: int) -> Array:
            shape = [1] * x.ndim
            shape[feature_axis] = sites[site]
            return fn(x) * leaves[site].reshape(shape).astype(x.dtype)

        return network.run(trees.unflatten({path: leaves[path] for path in params}), x, activate)

    found = find_symmetries(probed, trees.unflatten(params | probes), network.example, check=check)
    layers = {path: found.layers[path] for path in params}
    own = found._replace(
        layers=with_norms(layers, {path: path.rpartition("/")[0] for path in layers}),  # Sites were read as scales.
        spec={path: found.spec[path] for path in params},
        several_roles=tuple(path for path in found.several_roles if path in params),
        dead=tuple(path for path in found.dead if path in params),
        loose={path: names for path, names in found.loose.items() if path in params},
    )
    spec = {path: tuple(map(_short, found.spec[path])) for path in (*params, *sites)}
    return Reading(params, own, sites, spec)


def in_order(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a nested dictionary by path, in insertion order: Linen's is that of the forward pass."""
    leaves: dict[str, Any] = {}
    for name, node in tree.items():
        leaves |= in_order(node, f"{prefix}{name}/") if isinstance(node, dict) else {prefix + name: node}
    return leaves


def _short(axis: Axis) -> str | Axis | None:
    """Return the name of a permutation of a whole axis, None where none acts, else the tree."""
    if isinstance(axis, Perm) and not axis.within:
        return axis.name
    return None if isinstance(axis, Fixed) and axis.name is None else axis
