"""What a zoo is called in tables and names."""

from collections.abc import Mapping
from typing import Any


def kind_of(config: Mapping[str, Any]) -> str:
    """Return what the networks of a sweep are, by its config.json: their method or the control, and a shared start."""
    name = str(config.get("control", config["model"]["arch"]))
    return f"{name}, shared start" if config.get("start", "own") == "shared" else name
