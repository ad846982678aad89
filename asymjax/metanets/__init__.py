"""Metanetworks: networks that read the weights of networks, with every symmetry or none.

Comes in: a :class:`Zoo`, trained networks with what was measured of each. Goes out: predictions of it from the weights.
Formulas: Lim et al. (2024), arXiv 2405.20231, for the baselines; Zhou et al. (2024), arXiv 2402.05232, for the
equivariant layers.

To add one, write a module with a frozen dataclass, a :class:`Metanetwork` with ``make``, and a line in ``METANETS``.
"""

from asymjax.metanets.barriers import reference_barriers, with_barriers
from asymjax.metanets.config import FitConfig
from asymjax.metanets.deepsets import DeepSets
from asymjax.metanets.dmc import DMC
from asymjax.metanets.equivariant import HNP, NP
from asymjax.metanets.fit import Fit, Learned, fit
from asymjax.metanets.flat_mlp import FlatMLP
from asymjax.metanets.metanet import Metanet, Metanetwork, Read, plain
from asymjax.metanets.probe import Probe
from asymjax.metanets.regression import Norms, Recipe, Regression, Ridge, StatTrees
from asymjax.metanets.scales import ScaleHNP
from asymjax.metanets.scores import ClassScores, Scores, accuracy, score, score_classes
from asymjax.metanets.statnn import StatNN
from asymjax.metanets.transfer import transfer, widened
from asymjax.metanets.zoo import Parts, Zoo, split

METANETS: dict[str, type[Metanetwork] | type[Regression]] = {
    "recipe": Recipe,
    "norms": Norms,
    "stat_trees": StatTrees,
    "ridge": Ridge,
    "statnn": StatNN,
    "flat_mlp": FlatMLP,
    "deepsets": DeepSets,
    "dmc": DMC,
    "hnp": HNP,
    "np": NP,
    "scale_hnp": ScaleHNP,
    "probe": Probe,
}

__all__ = [
    "DMC",
    "HNP",
    "METANETS",
    "NP",
    "ClassScores",
    "DeepSets",
    "Fit",
    "FitConfig",
    "FlatMLP",
    "Learned",
    "Metanet",
    "Metanetwork",
    "Norms",
    "Parts",
    "Probe",
    "Read",
    "Recipe",
    "Regression",
    "Ridge",
    "ScaleHNP",
    "Scores",
    "StatNN",
    "StatTrees",
    "Zoo",
    "accuracy",
    "fit",
    "plain",
    "reference_barriers",
    "score",
    "score_classes",
    "split",
    "transfer",
    "widened",
    "with_barriers",
]
