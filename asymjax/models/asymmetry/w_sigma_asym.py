"""W-asymmetric kernels with the gates of sigma-asymmetric networks.

Under one mask key its masks and fixed values are those of ``w_asym`` and its gates those of ``sigma_asym``. The graph
networks that Lim et al. (2024) release as W-asymmetric are of this kind.
"""

from asymjax.models.asymmetry import sigma_asym, w_asym

METHOD = w_asym.METHOD._replace(
    freeze_gate=sigma_asym.METHOD.freeze_gate,
    activate=sigma_asym.METHOD.activate,
    note="Fixed weights and gates tell units apart and pin scales; what moves only free weights, biases and norms "
    "remains.",
)
