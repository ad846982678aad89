"""asymjax: a laboratory for neural parameter symmetries, in JAX.

The rooms, left to right; each imports only rooms to its left and the root modules:
data -> models -> train -> symmetry -> inference -> diagnostics -> metanets -> sparse -> paths -> lab -> report ->
experiments. The names below work in memory, on models and arrays of yours; they are imported when they are first used,
which gives JAX one CPU device a core unless it has started or was told otherwise.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "asymjax.experiments.predictions": ("predict",),
    "asymjax.experiments.zoo.read": ("read_zoo",),
    "asymjax.inference.likelihoods": ("Categorical", "Gaussian"),
    "asymjax.inference.posterior": ("make_posterior",),
    "asymjax.inference.samplers": ("HMC", "MCLMC", "NUTS", "SGLD"),
    "asymjax.inference.starts": ("Start",),
    "asymjax.inference.vi": ("IVON", "SVGD", "FullRank", "Laplace", "LowRank", "MeanField", "Ordered", "Pathfinder"),
    "asymjax.lab.devices": ("configure_host_devices",),
    "asymjax.models.from_flax": ("from_flax",),
    "asymjax.models.network": ("Activation",),
    "asymjax.models.methods": ("Method", "SigmaAsym", "Standard", "WAsym"),
    "asymjax.models.reading": ("find_symmetries",),
    "asymjax.models.symmetry_description": ("describe_symmetries",),
    "asymjax.networks": ("align", "barriers", "train_sweep"),
    "asymjax.priors": ("NormalPrior",),
    "asymjax.tickets": ("find_tickets", "train_twins"),
    "asymjax.walks": ("walk",),
    "asymjax.zoos": ("train_zoo",),
    "asymjax.sampling": ("ess", "fit", "rhat", "sample"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'asymjax' has no attribute {name!r}; it has {', '.join(__all__)}")
    import_module("asymjax.lab.devices").use_all_cores()
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
