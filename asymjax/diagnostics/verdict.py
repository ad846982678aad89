"""Whether to trust what was sampled, in a sentence."""

from collections.abc import Mapping
from typing import NamedTuple

MAX_RHAT = 1.01
MIN_ESS = 400


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
    is_adjusted: bool = True,
) -> Verdict:
    """Judge the draws of a posterior.

    Predictions are trusted where several chains agree in function space: R-hat below 1.01 and 400 effective draws or
    more, the thresholds of Vehtari et al. (2021), and no divergent draw. Weights are judged by the same two numbers.

    Parameters
    ----------
    function_space : ``rhat_max`` and ``ess_bulk_min`` over predictions, as of
        :func:`asymjax.diagnostics.summarise`; NaN where no coordinate moves.
    weight_space : the same over weights, or None where they were not kept.
    num_chains : number of chains.
    num_draws : kept draws of all chains.
    num_divergent : how many of them diverged.
    is_adjusted : whether the sampler has an accept step; without one its draws have a bias that convergence hides.

    Examples
    --------
    >>> good, bad = {"rhat_max": 1.004, "ess_bulk_min": 812.0}, {"rhat_max": 1.2, "ess_bulk_min": 9.0}
    >>> print(verdict(bad, None, num_chains=4, num_draws=1600, num_divergent=0).sentence)
    Do not trust the predictions: R-hat reaches 1.200 (below 1.01 is good) and ESS falls to 9 (400 or more is good) in \
function space; more warmup and more draws may help.
    >>> verdict(good, bad, num_chains=4, num_draws=1600, num_divergent=0).trusted
    True
    """
    doubts = _doubts(function_space, num_chains, num_draws, num_divergent)
    if doubts:
        return Verdict(
            False, f"Do not trust the predictions: {'; '.join(doubts)}; more warmup and more draws may help."
        )
    agree = "R-hat is at most {rhat_max:.3f} and ESS at least {ess_bulk_min:,.0f} in function space".format_map(
        function_space
    )
    sentence = f"Trust the predictions: {agree}, and no draw diverged"
    if not is_adjusted:
        sentence += "; the sampler has no accept step, so compare them with those of a smaller step size"
    if weight_space is not None and not _is_good(weight_space):
        weights = "R-hat reaches {rhat_max:.3f} and ESS falls to {ess_bulk_min:,.0f}".format_map(weight_space)
        sentence += f"; do not read single weights, where {weights}"
    return Verdict(True, f"{sentence}.")


def _is_good(space: Mapping[str, float]) -> bool:
    return space["rhat_max"] < MAX_RHAT and space["ess_bulk_min"] >= MIN_ESS


def _doubts(space: Mapping[str, float], num_chains: int, num_draws: int, num_divergent: int) -> list[str]:
    doubts = []
    if num_chains == 1:
        doubts.append("one chain cannot show that others would agree with it")
    if space["rhat_max"] != space["rhat_max"]:
        doubts.append("no prediction ever changed")
    elif not _is_good(space):
        signs = []
        if space["rhat_max"] >= MAX_RHAT:
            signs.append(f"R-hat reaches {space['rhat_max']:.3f} (below {MAX_RHAT} is good)")
        if space["ess_bulk_min"] < MIN_ESS:
            signs.append(f"ESS falls to {space['ess_bulk_min']:,.0f} ({MIN_ESS} or more is good)")
        doubts.append(f"{' and '.join(signs)} in function space")
    if num_divergent:
        doubts.append(f"{num_divergent:,} of {num_draws:,} draws diverged")
    return doubts
