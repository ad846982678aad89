"""Whether to trust what was sampled, in a sentence."""

import math
from collections.abc import Mapping
from typing import NamedTuple

MAX_RHAT = 1.01
MIN_ESS = 400
MIN_ACCEPTANCE = 0.1
MAX_ENERGY_CHANGE = 1.0
MAX_CUT_SHARE = 0.1


class Verdict(NamedTuple):
    """Whether the predictions of a sampled posterior can be trusted.

    Attributes
    ----------
    trusted : whether nothing speaks against it.
    sentence : the same in words, and why.
    """

    trusted: bool
    sentence: str


def verdict(
    function_space: Mapping[str, float],
    weight_space: Mapping[str, float] | None,
    num_chains: int,
    num_draws: int,
    num_divergent: int,
    acceptance_rate: float = math.nan,
    energy_change: float = math.nan,
    cut_share: float = 0.0,
    *,
    is_fit: bool = False,
) -> Verdict:
    """Judge the draws of a posterior.

    Predictions are trusted where several chains agree in function space: R-hat below 1.01 and 400 effective draws or
    more, the thresholds of Vehtari et al. (2021), and the sampler's own signs are good: no divergent draw, a tenth of
    the proposals accepted or more, a squared energy change below 1 a coordinate. Weights are judged by R-hat and ESS.

    Parameters
    ----------
    function_space : ``rhat_max`` and ``ess_bulk_min`` over predictions, as of
        :func:`asymjax.diagnostics.summarise`; NaN where no coordinate moves.
    weight_space : the same over weights, or None where they were not kept.
    num_chains : number of chains.
    num_draws : kept draws of all chains.
    num_divergent : how many of them diverged.
    acceptance_rate : mean over draws; NaN for a sampler without an accept step, whose bias convergence hides.
    energy_change : mean squared energy change of a step, divided by the number of coordinates; NaN where the sampler
        has none.
    cut_share : share of the trajectories that ended because they were as long as allowed; named above a tenth, though
        it costs effective draws and no trust.
    is_fit : whether the draws are independent ones of densities that were fitted, one a chain. These may agree without
        being near the posterior, which nothing here can see; predictions are then never called trusted.

    Examples
    --------
    >>> good, bad = {"rhat_max": 1.004, "ess_bulk_min": 812.0}, {"rhat_max": 1.2, "ess_bulk_min": 9.0}
    >>> print(verdict(bad, None, num_chains=4, num_draws=1600, num_divergent=0, acceptance_rate=0.8).sentence)
    Do not trust the predictions: R-hat reaches 1.200 (below 1.01 is good) and ESS falls to 9 (400 or more is good) in \
function space; more warmup and more draws may help.
    >>> verdict(good, bad, num_chains=4, num_draws=1600, num_divergent=0, acceptance_rate=0.8).trusted
    True
    """
    if is_fit:
        return _verdict_of_fits(function_space, num_chains, num_divergent)
    doubts = _doubts_of_chains(function_space, num_chains)
    doubts += _doubts_of_sampler(num_draws, num_divergent, acceptance_rate, energy_change)
    cut = f"; {cut_share:.0%} of the trajectories were cut at the most steps allowed" * (cut_share > MAX_CUT_SHARE)
    if doubts:
        return Verdict(
            False, f"Do not trust the predictions: {'; '.join(doubts)}{cut}; more warmup and more draws may help."
        )
    agree = "R-hat is at most {rhat_max:.3f} and ESS at least {ess_bulk_min:,.0f} in function space".format_map(
        function_space
    )
    sentence = f"Trust the predictions: {agree}, and no draw diverged"
    if math.isnan(acceptance_rate):
        sentence += "; the sampler has no accept step, so compare them with those of a smaller step size"
    if weight_space is not None and not _is_good(weight_space):
        weights = "R-hat reaches {rhat_max:.3f} and ESS falls to {ess_bulk_min:,.0f}".format_map(weight_space)
        sentence += f"; do not read single weights, where {weights}"
    return Verdict(True, f"{sentence}{cut}.")


def _verdict_of_fits(space: Mapping[str, float], num_fits: int, num_divergent: int) -> Verdict:
    """Say whether several fits agree, and that this is all that draws can say."""
    caveat = "draws are of what was fitted, so compare bounds, and predictions with those of a sampler"
    if num_divergent:
        return Verdict(
            False, f"Do not trust the fits: {num_divergent:,} draws are not finite; lower the learning rate."
        )
    if num_fits == 1:
        return Verdict(False, f"One fit cannot show that others would agree with it; {caveat}.")
    if math.isnan(space["rhat_max"]):
        return Verdict(False, f"No prediction ever changed in {num_fits} fits; {caveat}.")
    if _is_good(space):
        return Verdict(False, f"The {num_fits} fits agree: R-hat is at most {space['rhat_max']:.3f}; {caveat}.")
    if space["rhat_max"] < MAX_RHAT:
        few = f"ESS falls to {space['ess_bulk_min']:,.0f} ({MIN_ESS} or more is good)"
        return Verdict(False, f"Draws are too few to show whether the {num_fits} fits agree: {few}; {caveat}.")
    return Verdict(
        False,
        f"The {num_fits} fits disagree: R-hat reaches {space['rhat_max']:.3f} in function space, so that all draws "
        f"together are of a mixture of fits; {caveat}.",
    )


def _is_good(space: Mapping[str, float]) -> bool:
    return space["rhat_max"] < MAX_RHAT and space["ess_bulk_min"] >= MIN_ESS


def _doubts_of_chains(space: Mapping[str, float], num_chains: int) -> list[str]:
    doubts = []
    if num_chains == 1:
        doubts.append("one chain cannot show that others would agree with it")
    if math.isnan(space["rhat_max"]):
        doubts.append("no prediction ever changed")
    elif not _is_good(space):
        signs = []
        if space["rhat_max"] >= MAX_RHAT:
            signs.append(f"R-hat reaches {space['rhat_max']:.3f} (below {MAX_RHAT} is good)")
        if space["ess_bulk_min"] < MIN_ESS:
            signs.append(f"ESS falls to {space['ess_bulk_min']:,.0f} ({MIN_ESS} or more is good)")
        doubts.append(f"{' and '.join(signs)} in function space")
    return doubts


def _doubts_of_sampler(num_draws: int, num_divergent: int, acceptance_rate: float, energy_change: float) -> list[str]:
    doubts = []
    if num_divergent:
        doubts.append(f"{num_divergent:,} of {num_draws:,} draws diverged")
    if acceptance_rate < MIN_ACCEPTANCE:
        doubts.append(f"{acceptance_rate:.1%} of the proposals are accepted ({MIN_ACCEPTANCE:.0%} or more is good)")
    if energy_change > MAX_ENERGY_CHANGE:
        doubts.append(
            f"the squared energy change is {energy_change:,.3g} a coordinate (below {MAX_ENERGY_CHANGE:g} is good)"
        )
    return doubts
