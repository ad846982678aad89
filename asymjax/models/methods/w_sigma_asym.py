"""W-asymmetric kernels with the gates of sigma-asymmetric networks.

Under one mask key its masks and fixed values are those of ``w_asym`` and its gates those of ``sigma_asym``. The graph
networks that Lim et al. (2024) release as W-asymmetric are of this kind.
"""

from dataclasses import dataclass
from typing import ClassVar

from asymjax.models.methods.sigma_asym import SigmaAsym
from asymjax.models.methods.w_asym import WAsym


@dataclass(frozen=True)
class WSigmaAsym(SigmaAsym, WAsym):
    """Fixed weights and gates."""

    note: ClassVar[str] = (
        "Fixed weights and gates tell units apart and pin scales; what moves only free weights, biases and norms "
        "remains."
    )
