"""From the flat configuration of a family of samplers to the settings of one of them."""

from dataclasses import fields
from typing import Any

from asymjax.config import ChainsConfig
from asymjax.errors import choose
from asymjax.inference import ALGORITHMS, Algorithm


def algorithm_of(config: ChainsConfig) -> Algorithm:
    """Return the algorithm that a flat configuration names, with those of its settings that it has.

    Raises
    ------
    InputError
        If its name is unknown.
    """
    algorithm = choose(ALGORITHMS, config.sampler, "sampler")
    settings: dict[str, Any] = {field.name: getattr(config, field.name) for field in fields(algorithm)}
    return algorithm(**{name: value for name, value in settings.items() if value != "auto"})
