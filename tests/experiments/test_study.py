"""Studies of posteriors: arms, their priors, and the statistics of repeats."""

import numpy as np
import pytest

from asymjax import data
from asymjax.config import ModelConfig, PosteriorConfig, StudyConfig, chains_of
from asymjax.errors import InputError
from asymjax.experiments.arms import baseline_of, make_arms
from asymjax.experiments.study_summary import against, at_budget, between, excess, over_repeats, summary_metrics
from asymjax.inference.samplers import SAMPLERS

MODEL = ModelConfig(widths=(6,))


def test_every_sampler_has_a_family():
    for sampler in SAMPLERS:
        family, chains = chains_of(sampler, num_draws=9)
        assert (chains.sampler, chains.num_draws) == (sampler, 9) and family in ("hmc", "nuts", "mclmc", "sgld")
    with pytest.raises(InputError, match=r"unknown sampler 'gibbs', choose from hmc, .*nuts.*sgld"):
        chains_of("gibbs")


def test_arms_vary_have_one_output_scale_and_a_baseline():
    dataset = data.load("digits")
    config = StudyConfig(archs=("standard", "pruned"), vary="temperature", values=(0.5, 1))
    arms, priors = make_arms(config, MODEL, PosteriorConfig(), dataset)
    assert list(arms) == [f"{arch}-temperature-{value}" for arch in ("standard", "pruned") for value in ("0.5", "1")]
    assert baseline_of("pruned-temperature-0.5", arms) == "standard-temperature-0.5"
    scales = [arm.posterior.output_prior_scale for arm in arms.values()]
    assert scales[:2] == [20, 20] and 25 < scales[2] == scales[3] < 33  # Half of the output kernel is free.
    for prior in priors.values():
        assert prior["std_after"] == pytest.approx(prior["std_wanted"], rel=1e-3)


@pytest.mark.parametrize(("vary", "values"), [("temperature", ()), ("temperature", (0.0,)), ("none", (1.0,))])
def test_values_that_do_not_fit_are_refused(vary, values):
    with pytest.raises(InputError, match=f"vary is {vary} and values are"):
        make_arms(StudyConfig(vary=vary, values=values), MODEL, PosteriorConfig(), data.load("digits"))


def test_repeats_have_t_intervals_and_paired_differences():
    found = over_repeats([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])
    half_width = 4.302653 / np.sqrt(3)  # Student's t with two degrees of freedom, 97.5 %.
    assert [found[name] for name in ("mean", "low", "high")] == pytest.approx([2, 2 - half_width, 2 + half_width])
    assert found["difference"] == {"mean": 1, "std": 0, "low": 1, "high": 1}
    assert over_repeats([np.inf, 1.0])["mean"] == np.inf and over_repeats([1.0, 1.0])["difference"] is None


def test_the_last_point_within_the_budget_is_compared():
    curve = {"num_grad_evals": np.array([100.0, 200.0, 300.0])}
    curve |= {name: np.array([1.0, 2.0, 3.0]) * factor for factor, name in enumerate(("rhat_max", "lppd"), 1)}
    curve["ess_bulk_min"] = np.array([10.0, 20.0, 30.0])
    found = at_budget(curve, 299.0)
    assert (found["num_grad_evals_at_budget"], found["rhat_max_at_budget"], found["lppd_at_budget"]) == (200, 2, 4)
    assert at_budget(curve, 300.0)["ess_bulk_min_at_budget"] == 30
    assert np.isnan(at_budget(curve, 99.0)["rhat_max_at_budget"])


def test_arms_differ_by_more_than_their_repeats():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 4, 50))
    far = between([list(noise[0]), list(noise[1]), list(noise[2] + 5)], lambda p, q: float(np.mean((p - q) ** 2)))
    assert far.shape == (3, 3, 4, 4)
    same, other = excess(far, 1, 0), excess(far, 2, 0)
    assert same["low"] < 0 < same["high"]
    assert 20 < other["low"] < 25 < other["high"] < 30


def test_runs_are_held_against_references_and_these_against_each_other():
    first, second = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.7, 0.3], [0.6, 0.4]])
    found = against([first, second], [first, second])
    assert found["agreement"]["repeats"].tolist() == [0.75, 0.75] and found["agreement"]["ceiling"] == 0.5
    assert found["total_variation"]["mean"] == pytest.approx(0.1)
    assert found["total_variation"]["ceiling"] == pytest.approx(0.2)
    assert against([first], []) is None


def test_what_a_summary_lacks_is_not_a_number():
    sampler = {"num_grad_evals": 2000, "num_warmup_grad_evals": 500, "num_divergent": 1}
    spaces = {"function_space": {"rhat_max": 1.5, "ess_bulk_min_per_grad_eval": 0.002}, "weight_space": None}
    test = {"posterior": {"lppd": -0.25}, "map": None, "mean_network": {"raw": {"lppd": -1.0}, "aligned": None}}
    found = summary_metrics(spaces | {"sampler": sampler, "test": test, "modes": None})
    assert found["num_grad_evals"] == 2500 and found["function_ess_per_1000"] == 2
    assert (found["nll"], found["mean_network_excess"]) == (0.25, 0.75)
    for name in ("weight_rhat_max", "switches", "map_nll", "aligned_mean_network_excess", "accuracy"):
        assert np.isnan(found[name])
