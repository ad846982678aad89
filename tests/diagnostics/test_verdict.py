"""The verdict of draws, reason by reason."""

import numpy as np
import pytest

from asymjax.diagnostics.verdict import MAX_RHAT, MIN_ESS, verdict
from asymjax.report import style

GOOD, BAD = {"rhat_max": 1.0094, "ess_bulk_min": 400.0}, {"rhat_max": 1.01, "ess_bulk_min": 399.0}
CASES = {
    "one chain": {"num_chains": 1},
    "R-hat reaches 1.010": {"function_space": GOOD | {"rhat_max": 1.01}},
    "R-hat reaches inf": {"function_space": GOOD | {"rhat_max": np.inf}},
    "ESS falls to 399": {"function_space": GOOD | {"ess_bulk_min": 399.0}},
    "R-hat reaches 1.010 (below 1.01 is good) and ESS falls to 399": {"function_space": BAD},
    "no prediction ever changed": {"function_space": dict.fromkeys(GOOD, np.nan)},
    "3 of 1,600 draws diverged": {"num_divergent": 3},
    "2.0% of the proposals are accepted": {"acceptance_rate": 0.02},
    "the squared energy change is 6.7e+07 a coordinate": {"energy_change": 6.7e7},
}


def judge(**changed):
    given = {"function_space": GOOD, "weight_space": GOOD, "num_chains": 4, "num_draws": 1600, "num_divergent": 0}
    given |= {"acceptance_rate": 0.8, "energy_change": np.nan}
    return verdict(**given | changed)


@pytest.mark.parametrize("doubt", CASES)
def test_each_doubt_alone_costs_the_trust_and_is_named(doubt):
    trusted, sentence = judge(**CASES[doubt])
    assert not trusted and sentence.startswith("Do not trust the predictions: ") and doubt in sentence
    assert sum(other in sentence for other in CASES) == 1 + 2 * (CASES[doubt] == {"function_space": BAD})


def test_agreement_is_trusted_and_weights_are_judged_apart():
    assert judge() == judge(weight_space=None)
    assert judge() == (
        True,
        "Trust the predictions: R-hat is at most 1.009 and ESS at least 400 in function space, and no draw diverged.",
    )
    assert judge(weight_space=BAD).trusted
    assert judge(weight_space=BAD).sentence.endswith(
        "; do not read single weights, where R-hat reaches 1.010 and ESS falls to 399."
    )
    assert "no accept step" in judge(acceptance_rate=np.nan).sentence


def test_trajectories_that_were_cut_are_named_and_cost_no_trust():
    assert judge(cut_share=0.1) == judge()
    cut = judge(cut_share=0.97)
    assert cut.trusted and cut.sentence.endswith("; 97% of the trajectories were cut at the most steps allowed.")
    assert "97% of the trajectories" in judge(cut_share=0.97, num_divergent=3).sentence


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "The 4 fits agree: R-hat is at most 1.009; "),
        ({"function_space": BAD}, "The 4 fits disagree: R-hat reaches 1.010 "),
        (
            {"function_space": GOOD | {"ess_bulk_min": 399.0}},
            "Draws are too few to show whether the 4 fits agree: ESS ",
        ),
        ({"function_space": dict.fromkeys(GOOD, np.nan)}, "No prediction ever changed in 4 fits; "),
        ({"num_chains": 1}, "One fit cannot show "),
        ({"num_divergent": 3}, "Do not trust the fits: 3 draws are not finite"),
    ],
)
def test_fits_are_never_trusted_and_few_draws_are_no_disagreement(changed, words):
    trusted, sentence = judge(**changed, is_fit=True)
    assert not trusted and sentence.startswith(words)


def test_figures_mark_what_the_verdict_judges_by():
    assert (style.RHAT_THRESHOLD, style.ESS_THRESHOLD) == (MAX_RHAT, MIN_ESS)
