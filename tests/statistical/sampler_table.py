"""Every sampler with the settings under which it is tested. A new sampler is one line in ``CASES``.

Variational families have tests of their own, in tests/inference/vi/.
"""

import math
from typing import Any, NamedTuple

from asymjax.inference import ALGORITHMS
from asymjax.inference.samplers.minibatch import Minibatch


class Case(NamedTuple):
    """A sampler under test.

    Attributes
    ----------
    settings : those that are not its defaults.
    num_draws : kept draws a chain.
    bias : what its means may be off beyond chance, in standard deviations of the target; 0 for exact samplers, infinite
        for approximations, which are tested by what they are and not against the target.
    """

    settings: dict[str, Any]
    num_draws: int = 2000
    bias: float = 0.0


NUM_CHAINS = 4
ADAPTED = {"num_warmup": 500, "mass_matrix": "adapted"}
UNADJUSTED = {"num_warmup": 2000, "thinning": 10, "mass_matrix": "adapted"}
UNADJUSTED |= {"initial_energy_variance": 5e-3, "energy_variance": 5e-4}
# Ten times as many rows as there are, drawn with replacement: what is left of the noise of gradients is small.
MINIBATCH = {"num_warmup": 5000, "thinning": 200, "batch_size": 400}
CYCLES = {"num_cycles": 50, "exploration": 0.0}
# One friction for all coordinates cannot take up noise that is in some of them alone.
QUIET = {"batch_size": 4000}

CASES = {
    "hmc": Case(ADAPTED),
    "mhmc": Case(ADAPTED),
    "dynamic_hmc": Case(ADAPTED),
    "mala": Case(ADAPTED | {"num_warmup": 4000, "thinning": 10}),
    "nuts": Case(ADAPTED),
    "mclmc": Case(UNADJUSTED, 1000, bias=0.1),
    "adjusted_mclmc": Case(ADAPTED),
    "sgld": Case(MINIBATCH | {"step_size": 0.2}, 1000, bias=0.1),
    "csgld": Case(MINIBATCH | CYCLES | {"step_size": 0.4}, 1000, bias=0.1),
    "sghmc": Case(MINIBATCH | {"step_size": 0.02}, 1000, bias=0.1),
    "sgnht": Case(MINIBATCH | QUIET | {"step_size": 0.005, "momentum": 0.99}, 1000, bias=0.1),
    "psgld": Case(MINIBATCH | {"step_size": 0.01, "norm_decay": 0.999}, 1000, bias=0.1),
    "psmile": Case(MINIBATCH | {"step_size": 4.0}, 1500, bias=0.1),
    "swag": Case({"num_warmup": 400}, bias=math.inf),
}

KERNELS = tuple(name for name, case in CASES.items() if math.isfinite(case.bias))
LONG = tuple(name for name in CASES if issubclass(ALGORITHMS[name], Minibatch))
EXACT = tuple(name for name, case in CASES.items() if case.bias == 0)


def make_algorithm(name, **changes):
    """Return a sampler with some of its settings changed."""
    return ALGORITHMS[name](**CASES[name].settings | changes)
