"""Chains and samplers as settings."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from asymjax.errors import choose
from asymjax.settings import Settings


@dataclass(frozen=True)
class ChainsConfig(Settings):
    """Chains, their start, and what is kept of them."""

    sampler: str = "hmc"
    """Sampler."""
    num_chains: int = 4
    """Chains, each from its own init seed."""
    num_draws: int = 400
    """Kept draws a chain."""
    thinning: int = 1
    """Keep one draw in this many."""
    num_warmup: int = 100
    """Steps a chain that adapt and are dropped."""
    start: Literal["map", "prior", "permuted"] = "map"
    """Start chains at the optimum of the same density (a MAP ensemble), at draws from the prior, or at copies of one
    optimum, the units of each permuted at random: for a standard network all the same function."""
    chains_per_start: int = 1
    """Chains that share a start, one after the other: superchains, of which nested R-hat is reported."""
    map_steps: int = 10_000
    """Full-batch optimizer steps to the optimum."""
    map_learning_rate: float = 0.003
    """Peak learning rate on the way to the optimum (cosine schedule)."""
    keep: Literal["auto", "weights", "outputs"] = "auto"
    """What to keep of each draw: weights, or only the outputs on test and noise inputs; auto keeps weights while they
    take less than 2 GB."""


@dataclass(frozen=True)
class AdaptedConfig(ChainsConfig):
    """Chains whose warmup adapts a step size to an acceptance rate, and a metric."""

    target_acceptance_rate: Literal["auto"] | float = "auto"
    """Acceptance rate that warmup's step sizes reach on average; the averaged step size that is kept accepts about 0.1
    more. auto is 0.8, for mala 0.574."""
    mass_matrix: Literal["prior", "adapted"] = "prior"
    """Inverse mass matrix: the variance of the prior, or a diagonal adapted in warmup."""


@dataclass(frozen=True)
class HMCConfig(AdaptedConfig):
    """Hamiltonian Monte Carlo with a given integration time."""

    sampler: Literal["hmc", "mhmc", "dynamic_hmc", "mala"] = "hmc"
    """hmc proposes the end of the trajectory, mhmc any of its points (multinomial). dynamic_hmc draws the integration
    time uniformly from 0 to twice trajectory_length; mala takes one leapfrog step a draw (use thinning)."""
    trajectory_length: Literal["auto"] | float = "auto"
    """Integration time in units of the metric's scale; auto is pi/2, which with mass_matrix prior is (pi/2) times the
    prior scale."""
    jitter: float = 0.5
    """Trajectory lengths are uniform within this fraction of trajectory_length; 0 fixes them."""
    max_integration_steps: int = 500
    """Leapfrog steps a draw at most."""

    def unused(self) -> frozenset[str]:
        """Return what the length of a trajectory does not depend on."""
        fixed = {"mala": {"trajectory_length", "jitter"}, "dynamic_hmc": {"jitter"}}
        return frozenset(fixed.get(self.sampler, ()))


@dataclass(frozen=True)
class NUTSConfig(AdaptedConfig):
    """Hamiltonian Monte Carlo whose trajectories end where they turn."""

    sampler: Literal["nuts"] = "nuts"
    """nuts is the No-U-Turn Sampler, multinomial over the trajectory."""
    max_doublings: int = 8
    """Doublings of a trajectory at most: 2^max_doublings - 1 leapfrog steps."""


@dataclass(frozen=True)
class MCLMCConfig(AdaptedConfig):
    """Microcanonical Langevin Monte Carlo: dynamics of constant speed, with or without a Metropolis step."""

    sampler: Literal["mclmc", "adjusted_mclmc"] = "mclmc"
    """mclmc takes every step, and has a bias that falls with energy_variance; adjusted_mclmc accepts or rejects the end
    of a trajectory, and has none."""
    num_draws: int = 1000
    """Kept draws a chain."""
    thinning: int = 10
    """Keep one draw in this many; a draw of mclmc is one step of its integrator."""
    num_warmup: int = 10_000
    """Steps a chain that adapt and are dropped. A step of adjusted_mclmc is a trajectory: take about 100."""
    initial_step_size: float = 0.01
    """Step size at the start of warmup, the Euclidean length of a step in units of the metric's scale (mclmc)."""
    initial_energy_variance: float = 0.5
    """Mean squared energy error of a step and coordinate, in squared nats, that the first stage of warmup aims at; it
    falls in a line to energy_variance (mclmc)."""
    energy_variance: float = 0.1
    """The same that the last stage aims at. Less makes smaller steps and a smaller bias (mclmc)."""
    num_stages: int = 10
    """Stages of warmup that tune the step size, from 2 (mclmc)."""
    trajectory_length: Literal["auto"] | float = "auto"
    """Length of a trajectory divided by sqrt(coordinates), in units of the metric's scale; auto is pi/2
    (adjusted_mclmc)."""
    jitter: float = 0.5
    """Trajectory lengths are uniform within this fraction of trajectory_length (adjusted_mclmc)."""
    max_integration_steps: int = 250
    """Integrator steps of a trajectory at most, of two gradients each (adjusted_mclmc)."""

    def unused(self) -> frozenset[str]:
        """Return what trajectories have, where there are none."""
        return frozenset({"trajectory_length", "jitter"} if self.sampler == "mclmc" else ())


@dataclass(frozen=True)
class MinibatchConfig(ChainsConfig):
    """Langevin dynamics on gradients of a few rows, without a Metropolis test: draws are biased by the step size.

    All walk in coordinates in units of the prior's standard deviation.
    """

    sampler: Literal["sgld", "csgld", "sghmc", "sgnht", "psgld", "swag"] = "sgld"
    """sgld is stochastic gradient Langevin dynamics, csgld the same in cycles of large and small steps, sghmc has
    momentum, sgnht a thermostat that takes up gradient noise, psgld divides steps by running gradient norms. swag
    samples no posterior: it draws from a Gaussian fitted to SGD's steps in warmup; its draws are independent, so give
    --thinning 1."""
    thinning: int = 100
    """Keep one draw in this many steps."""
    num_warmup: int = 20_000
    """Steps a chain that are dropped, at the constant step_size."""
    batch_size: int = 64
    """Rows a step, drawn with replacement."""
    step_size: Literal["auto"] | float = "auto"
    """Step size in units of one row: a step takes the gradient of the log density times step_size / rows, whatever the
    batch size. The same for samplers with momentum, whose time step is the square root of that. auto is 0.1 (sgld),
    0.3 (csgld), 0.01 (sghmc, sgnht), 0.001 (psgld), or 0.1 (swag). On digits those of sgld and sghmc do not converge;
    the others were tried in short runs, or not at all."""
    schedule: Literal["constant", "polynomial"] = "constant"
    """Step sizes of sgld's draws: constant, or step_size x (1 + t / decay_steps)^-decay_exponent after t steps. Draws
    all count the same."""
    decay_steps: float = 1000.0
    """Steps after which the polynomial schedule begins to fall."""
    decay_exponent: float = 1 / 3
    """Exponent of the polynomial schedule, above 0 and at most 1; 1/3 converges fastest (Teh et al. 2016)."""
    num_cycles: int = 4
    """Cycles of csgld; must divide num_draws. In each, step sizes fall from step_size to zero on half a cosine."""
    exploration: float = 0.5
    """Share of each cycle of csgld that takes its largest steps, without noise and without draws, in [0, 1). It comes
    on top of the steps that thinning counts."""
    momentum: float = 0.9
    """Share of the momentum that a step keeps (sghmc; at the start sgnht), in [0, 1)."""
    norm_decay: float = 0.99
    """Share of the running squared gradients that a step keeps (psgld)."""
    norm_floor: float = 1e-5
    """Added to the gradient norms that divide steps, in units of one row (psgld)."""
    control_variates: bool = False
    """Estimate only how the gradient differs from the one at the start of the chain, at twice the cost. Less noisy near
    the start, noisier far from it."""

    def unused(self) -> frozenset[str]:
        """Return the settings of other samplers."""
        owners = {
            "num_cycles": {"csgld"},
            "exploration": {"csgld"},
            "momentum": {"sghmc", "sgnht"},
            "norm_decay": {"psgld"},
            "norm_floor": {"psgld"},
        }
        return frozenset(name for name, samplers in owners.items() if self.sampler not in samplers)


FAMILIES: dict[str, type[ChainsConfig]] = {
    "hmc": HMCConfig,
    "nuts": NUTSConfig,
    "mclmc": MCLMCConfig,
    "sgld": MinibatchConfig,
}
"""Groups of samplers, by the last word of the script that runs them: ``"hmc"`` for ``runs/bnn_hmc.py``."""


FAMILY_OF: dict[str, str] = {
    name: family for family, chains in FAMILIES.items() for name in get_args(get_type_hints(chains)["sampler"])
}
"""The family of every sampler, by the name of the sampler."""


def chains_of(sampler: str, **settings: Any) -> tuple[str, Any]:
    """Return the family of a sampler, and its configuration with some fields set.

    Raises
    ------
    InputError
        If the sampler is unknown.
    """
    family = choose(FAMILY_OF, sampler, "sampler")
    return family, FAMILIES[family](sampler=sampler, **settings)
