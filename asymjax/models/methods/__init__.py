"""Symmetry-breaking methods: a module each, a frozen dataclass of settings whose functions reparametrise kernels.

In: kernels and activation sites of any network. Out: constants (``frozen``), effective kernels, activations. To add
one: a module here with a subclass of ``Method`` that overrides that in which it differs, a line in ``METHODS``.
"""

from asymjax.models.methods.fixed_bias import FixedBias
from asymjax.models.methods.method import Kernel, Method
from asymjax.models.methods.pruned import Pruned
from asymjax.models.methods.sigma_asym import SigmaAsym
from asymjax.models.methods.standard import Standard
from asymjax.models.methods.syre import Syre
from asymjax.models.methods.w_asym import WAsym
from asymjax.models.methods.w_sigma_asym import WSigmaAsym

METHODS: dict[str, type[Method]] = {
    "standard": Standard,
    "w_asym": WAsym,
    "pruned": Pruned,
    "sigma_asym": SigmaAsym,
    "w_sigma_asym": WSigmaAsym,
    "syre": Syre,
    "fixed_bias": FixedBias,
}

__all__ = [
    "METHODS",
    "FixedBias",
    "Kernel",
    "Method",
    "Pruned",
    "SigmaAsym",
    "Standard",
    "Syre",
    "WAsym",
    "WSigmaAsym",
]
