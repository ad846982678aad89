"""Nested dictionaries and the paths of their leaves. Imports no JAX, so that reports and stores can use it."""

from collections.abc import Mapping
from typing import Any


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries to ``{"dense_0/kernel": leaf}``, in sorted order."""
    flat: dict[str, Any] = {}
    for name in sorted(tree):
        path = f"{prefix}{name}"
        if isinstance(tree[name], Mapping):
            flat |= flatten(tree[name], path + "/")
        else:
            flat[path] = tree[name]
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nest ``{"dense_0/kernel": leaf}`` again; the inverse of :func:`flatten` for trees without empty branches."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *branches, name = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[name] = leaf
    return tree


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return ``"name: old -> new"`` for every leaf of two nested dictionaries that differs."""
    old_flat, new_flat = flatten(old), flatten(new)
    names = sorted(old_flat.keys() | new_flat.keys())
    return [
        f"{name}: {old_flat.get(name)!r} -> {new_flat.get(name)!r}"
        for name in names
        if old_flat.get(name) != new_flat.get(name)
    ]
