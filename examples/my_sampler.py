"""A sampler of your own under this driver: BlackJAX's Barker proposal, with the warmup that HMC has.

    python examples/my_sampler.py

A sampler is a frozen dataclass of its settings. ``make`` builds its kernel from a target density and from what warmup
tuned; ``Adapted`` brings a warmup that tunes a step size to an acceptance rate.
"""

from dataclasses import dataclass
from typing import NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

import asymjax
from asymjax.inference.algorithm import make_info
from asymjax.inference.warmup import Adapted
from asymjax.types import Sampler


class Tuned(NamedTuple):
    """What warmup tunes, one set a chain."""

    step_size: jax.Array
    inverse_mass_matrix: jax.Array


@dataclass(frozen=True)
class Barker(Adapted):
    """The Barker proposal of Livingstone and Zanella (2022), robust to a wrong step size."""

    num_warmup: int = 500
    thinning: int = 10
    target_acceptance_rate: float = 0.4

    def make(self, target, tuned, num_steps=0):
        """Build the kernel."""
        kernel = blackjax.barker_proposal.build_kernel()

        def init(key, position):
            return blackjax.barker_proposal.init(position, target.logdensity)

        def step(key, state):
            state, info = kernel(key, state, target.logdensity, tuned.step_size, tuned.inverse_mass_matrix)
            return state, make_info(1, info.acceptance_rate)

        return Sampler(init, step)

    def retune(self, step_size, metric):
        """Return what is tuned."""
        return Tuned(step_size, metric)


def logdensity(position):
    """Return the log density of two independent Gaussians, with means 1 and -2 and standard deviations 0.5 and 2."""
    return -0.5 * (((position["x"] - 1) / 0.5) ** 2 + ((position["y"] + 2) / 2) ** 2)


def main(num_draws=1000):
    """Sample, compare the moments with the truth, and return the errors in standard errors."""
    start = {"x": jnp.array(0.0), "y": jnp.array(0.0)}
    result = asymjax.sample(jax.random.key(0), logdensity, start, sampler=Barker(), num_chains=4, num_draws=num_draws)
    errors = []
    for name, mean, scale in (("x", 1.0, 0.5), ("y", -2.0, 2.0)):
        draws = result.position[name]
        ess = float(asymjax.ess(draws))
        error = (draws.mean() - mean) / (scale / np.sqrt(ess))
        print(f"{name}: mean {draws.mean():.3f} (truth {mean}), {error:+.1f} standard errors; ESS {ess:.0f}")
        print(f"   R-hat {float(asymjax.rhat(draws)):.4f}, standard deviation {draws.std():.3f} (truth {scale})")
        errors.append(error)
    return errors


if __name__ == "__main__":
    main()
