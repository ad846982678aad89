"""Studies of posteriors: variants, their priors, and the statistics of repeats."""

from pathlib import Path

import numpy as np
import pytest
from draws import write_draws
from scipy.stats import ttest_rel

from asymjax import data
from asymjax.diagnostics.convergence import summarise
from asymjax.diagnostics.predictive import cell_edges, cell_probabilities, squared_distance
from asymjax.diagnostics.scores import NUM_PROBES, function_coordinates, score
from asymjax.errors import InputError
from asymjax.experiments.compare_posteriors import summary
from asymjax.experiments.compare_posteriors.arms import baseline_of, make_arms, plain_family_of, read_samplers
from asymjax.experiments.compare_posteriors.config import Config, StudyConfig
from asymjax.experiments.compare_posteriors.distances import MEASURES, against, between, excess
from asymjax.experiments.compare_posteriors.priors import matched_variants
from asymjax.experiments.compare_posteriors.repeats import holm, over_repeats
from asymjax.experiments.compare_posteriors.run import _check_arms, _masks
from asymjax.experiments.compare_posteriors.summary import (
    FAMILY,
    OPTIMA,
    Reference,
    Sampled,
    _correct,
    _hold_against,
    at_budget,
    summary_metrics,
)
from asymjax.experiments.posterior.config import FAMILIES, family_of
from asymjax.experiments.posterior.draws import read_predictive
from asymjax.experiments.variants import Variant, VariedConfig
from asymjax.inference import ALGORITHMS
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.samplers import HMC, MALA
from asymjax.inference.vi import Laplace, MeanField
from asymjax.models import ModelConfig, Models
from asymjax.models.backbones import MLP


def matched(dataset, archs=("standard",), backbone=MLP((), norm="none"), **varied):  # noqa: B008
    config = Config(variants=VariedConfig(**varied), models=Models(backbone=backbone, archs=archs))
    return matched_variants(config, data.load(dataset))


def test_every_sampler_has_a_family():
    assert {name for names in FAMILIES.values() for name in names} == set(ALGORITHMS)
    assert family_of(MALA()) == "hmc"


def test_variants_have_one_output_scale_and_a_baseline():
    variants, priors = matched("digits", ("standard", "pruned"), vary="temperature", values=(0.5, 1))
    assert list(variants) == [
        f"{arch}-temperature-{value}" for arch in ("standard", "pruned") for value in ("0.5", "1")
    ]
    arms = make_arms(variants, {"hmc": HMC()})
    assert list(arms) == list(variants)
    assert baseline_of("pruned-temperature-0.5", arms) == "standard-temperature-0.5"
    scales = [variant.posterior.output_prior_scale for variant in variants.values()]
    assert scales[:2] == [20, 20] and min(scales[2:]) > 25  # Half of the output kernel is free.
    assert scales[2] == pytest.approx(scales[3], rel=5e-3)  # All of pruned's prior is tempered.
    for prior in priors.values():
        assert prior["std_after"] == pytest.approx(prior["std_wanted"], rel=1e-3)


def test_samplers_are_read_with_their_settings():
    words = ("hmc", "meanfield,learning_rate=1e-2,symmetrise=bethe", "laplace,num_warmup=7")
    samplers = read_samplers(StudyConfig(samplers=words, num_warmup=30, thinning=2))
    assert list(samplers) == ["hmc", "meanfield,learning_rate=0.01,symmetrise=bethe", "laplace,num_warmup=7"]
    assert list(samplers.values()) == [
        HMC(num_warmup=30, thinning=2),
        MeanField(num_warmup=30, thinning=2, learning_rate=0.01, symmetrise="bethe"),
        Laplace(num_warmup=7, thinning=2),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "samplers is empty; name one at least"),
        (("hmcc",), "unknown sampler 'hmcc', choose from hmc"),
        (("hmc,elbow=3",), "unknown setting of hmc 'elbow', choose from"),
        (("hmc,thinning",), "'hmc,thinning'; write NAME,SETTING=VALUE"),
        (("hmc,thinning=2,thinning=3",), "each setting once"),
        (("meanfield,symmetrise=by",), "symmetrise of meanfield is 'by'; give no or infonce"),
        (("meanfield,learning_rate=-1",), "learning_rate is -1.0; give a number in"),
        (("meanfield,num_elements=8",), "where num_elements has no effect; leave it out"),
        (("hmc", "hmc,thinning=1"), "'hmc,thinning=1', which is the same as one before it"),
    ],
)
def test_samplers_that_cannot_be_are_refused_by_name(words, message):
    with pytest.raises(InputError, match=message):
        read_samplers(StudyConfig(samplers=words))


def test_arms_are_networks_by_samplers():
    bethe = "meanfield,symmetrise=bethe"
    networks = {arch: Variant(ModelConfig().having({"arch": arch})) for arch in ("standard", "pruned")}
    arms = make_arms(networks, read_samplers(StudyConfig(samplers=("hmc", "meanfield", bethe))))
    assert list(arms) == [f"{arch}-{name}" for arch in ("standard", "pruned") for name in ("hmc", "meanfield", bethe)]
    assert arms[f"pruned-{bethe}"].variant.sampler == MeanField(symmetrise="bethe")
    assert [baseline_of(f"pruned-{name}", arms) for name in ("hmc", bethe)] == ["standard-hmc", f"standard-{bethe}"]
    widths = {
        f"{name}-{width}": network.having("width", width) for name, network in networks.items() for width in (4, 8)
    }
    assert baseline_of("pruned-8", make_arms(widths, {"hmc": HMC()})) == "standard-8"
    held = {name: plain_family_of(name, arms) for name in arms}
    assert {name: plain for name, plain in held.items() if plain} == {
        f"{arch}-{bethe}": f"{arch}-meanfield" for arch in ("standard", "pruned")
    }


def test_a_fit_is_held_against_the_plain_fit_of_the_same_integral():
    names = "meanfield,symmetrise=bethe", "lowrank,likelihood_weight=8.0", "meanfield", "lowrank"
    arms = make_arms({"standard": Variant(ModelConfig())}, read_samplers(StudyConfig(samplers=names)))
    held = [plain_family_of(f"standard-{name}", arms) for name in names]
    assert held == ["standard-meanfield", None, None, "standard-meanfield"]


def test_families_that_do_not_apply_are_refused_before_work():
    posterior = PosteriorConfig().for_task("classification")
    network = Variant(ModelConfig(backbone=MLP((30,), norm="none")), posterior=posterior)
    arms = make_arms({"standard": network}, {"hmc": HMC(), "exact": MeanField(symmetrise="exact")})
    with pytest.raises(InputError, match=r"standard-exact: .*20"):
        _check_arms(arms, data.load("digits"))


def test_outputs_that_vary_too_much_are_refused_by_name():
    with pytest.raises(InputError, match=r"w_asym: outputs have a standard .* choose a smaller --fixed-scale"):
        matched("diabetes", ("w_asym",), backbone=MLP((6,)))


@pytest.mark.parametrize(
    ("vary", "values", "message"),
    [
        ("temperature", (), "vary is temperature and values are"),
        ("temperature", (0.0,), r"temperature is 0.0; give a number in \[1e-15, 1e\+15\]"),
        ("none", (1.0,), "vary is none and values are"),
    ],
)
def test_values_that_do_not_fit_are_refused(vary, values, message):
    with pytest.raises(InputError, match=message):
        matched("digits", vary=vary, values=values)


def test_repeats_have_t_intervals_and_paired_differences():
    found = over_repeats([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])
    half_width = 4.302653 / np.sqrt(3)  # Student's t with two degrees of freedom, 97.5 %.
    assert [found[name] for name in ("mean", "low", "high")] == pytest.approx([2, 2 - half_width, 2 + half_width])
    difference = found["difference"]
    assert {name: difference[name] for name in ("mean", "std", "low", "high")} == {
        "mean": 1,
        "std": 0,
        "low": 1,
        "high": 1,
    }
    assert np.isnan(difference["p_value"])  # Equal differences are no certainty.
    values, baseline = np.random.default_rng(0).normal(size=(2, 6))
    assert over_repeats(values, baseline)["difference"]["p_value"] == pytest.approx(ttest_rel(values, baseline).pvalue)
    rounded = over_repeats([0.1, 0.3], [0.1 + 1e-9, 0.3 - 2e-9])["difference"]
    assert rounded["mean"] == 0 and np.isnan(rounded["p_value"])  # Of float32, and no result.
    assert over_repeats([np.inf, 1.0])["mean"] == np.inf and over_repeats([1.0, 1.0])["difference"] is None


def test_p_values_are_adjusted_for_their_number():
    # By hand: .01 x 4, then the larger of .04 and .02 x 3, of .06 and .03 x 2, and of that and .5.
    assert holm([0.02, np.nan, 0.5, 0.01, 0.03]) == pytest.approx([0.06, np.nan, 0.5, 0.04, 0.06], nan_ok=True)
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    # Under the null a study of 20 tests has a false mark in at most 5 % of cases, and would have one in 64 % before.
    p_values = np.random.default_rng(0).uniform(size=(2000, 20))
    is_marked = [(holm(study) <= 0.05).any() for study in p_values]
    assert np.mean(is_marked) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000) and (p_values <= 0.05).any(1).mean() > 0.5


def test_optima_that_samplers_share_are_tested_once_and_families_apart():
    def entry(sampler):
        def difference():
            return {"difference": {"p_value": 0.01}}

        family = {"differences": {"elbo": {"p_value": 0.03}}} if sampler == "laplace" else None
        return {
            **{"sampler": sampler, "metrics": {name: difference() for name in FAMILY}},
            "plain_family": family,
        }

    entries = {sampler: entry(sampler) for sampler in ("hmc", "laplace")}
    _correct(entries)
    num_tests = 2 * len(FAMILY) - 2
    for name in FAMILY:
        found = [entries[sampler]["metrics"][name]["difference"].get("p_holm") for sampler in entries]
        assert found == pytest.approx([0.01 * num_tests, None if name in OPTIMA else 0.01 * num_tests])
    assert entries["laplace"]["plain_family"]["differences"]["elbo"]["p_holm"] == 0.03


def test_masks_are_the_runs_own_unless_something_else_tells_runs_apart():
    assert _masks(None, "none", False) == "own" and _masks("shared", "none", False) == "shared"
    assert _masks(None, "mask_seed", False) == _masks(None, "none", True) == "shared"
    with pytest.raises(InputError, match="masks is own, but mask_seed varies; give --masks shared"):
        _masks("own", "mask_seed", False)
    with pytest.raises(InputError, match="masks is own, but runs are held against references"):
        _masks("own", "none", True)


def test_draws_within_the_budget_are_judged(tmp_path):
    dataset = data.load("digits")
    outputs = np.random.default_rng(0).normal(size=(2, 30, len(dataset.test.targets), 10)).astype(np.float32)
    grads = np.full((2, 10), 5.0, np.float32)
    write_draws(tmp_path, [{"outputs": chunk, "num_grad_evals": grads} for chunk in np.split(outputs, 3, axis=1)])
    (tmp_path / "metrics.jsonl").write_text('{"phase": "warmup", "chunk": 0, "num_grad_evals": [30, 20]}\n')
    found = at_budget(tmp_path, dataset, False, 50 + 10 * 17 + 9)
    assert (found["num_draws_at_budget"], found["num_grad_evals_at_budget"]) == (17, 220)
    assert found["lppd_at_budget"] == pytest.approx(score(dataset, [outputs[:, :17]])["lppd"])
    probes = function_coordinates("classification", outputs[:, :17, :NUM_PROBES], False)
    assert found["rhat_max_at_budget"] == summarise(probes)["rhat_max"]
    assert np.isnan(at_budget(tmp_path, dataset, False, 50 + 10 * 7)["rhat_max_at_budget"])


def test_variants_differ_by_more_than_their_repeats_however_noisy_these_are():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 4, 2000, 2)) * np.array([1, 5, 1])[:, None, None, None]
    found = between([list(noise[0]), list(noise[1]), list(noise[2] + 5)], squared_distance)
    assert found.shape == (3, 3, 4, 4)
    same, other = excess(found, 1, 0), excess(found, 2, 0)
    assert same["low"] < 0 < same["high"] < 10
    assert 40 < other["low"] < 50 < other["high"] < 60


def test_runs_are_held_against_references_and_these_against_each_other():
    first, second = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.7, 0.3], [0.6, 0.4]])
    found = against(MEASURES, [first, second], [first, second])
    assert found["agreement"]["repeats"].tolist() == [0.75, 0.75] and found["agreement"]["between_references"] == 0.5
    assert found["total_variation"]["mean"] == pytest.approx(0.1)
    assert found["total_variation"]["between_references"] == pytest.approx(0.2)
    assert against(MEASURES, [first], []) is None
    runs = [Sampled({"function_variance": value, "weight_variance": np.nan}, {}, {}, {}, 0) for value in (1.0, 2.0)]
    reference = Reference([], [{"function_variance": value, "weight_variance": 1.0} for value in (3.0, 5.0)])
    for run, ratio in zip(_hold_against(runs, found, reference), (0.25, 0.5), strict=True):
        assert run.metrics["reference_total_variation"] == pytest.approx(0.1)
        assert run.metrics["function_variance_ratio"] == ratio
        assert np.isnan(run.metrics["weight_variance_reference_ratio"])
    (alone, _) = _hold_against(runs, None, Reference([], []))
    assert np.isnan(alone.metrics["reference_total_variation"]) and np.isnan(alone.metrics["function_variance_ratio"])


def test_densities_are_predicted_by_their_cells(tmp_path):
    dataset, rng = data.load("diabetes"), np.random.default_rng(0)
    num_test = len(dataset.test.targets)
    outputs = rng.normal(size=(2, 30, num_test + 5, 2)).astype(np.float32)
    write_draws(tmp_path, [{"outputs": chunk} for chunk in np.split(outputs, 3, axis=1)])
    found = read_predictive(tmp_path, dataset)
    mean, log_scale = np.split(outputs[:, :, :num_test].astype(np.float64), 2, axis=-1)
    whole = cell_probabilities(mean, np.exp(log_scale), cell_edges(dataset.test.targets))
    np.testing.assert_allclose(found, whole[:, 0], atol=1e-12)


def make_summary(variance=1.0, nll=0.25, **sampler):
    return {
        **{"arch": "standard", "num_trainable": 7, "num_fixed": 0, "modes": None, "weight_space": None},
        "function_space": {"rhat_max": 1.5, "ess_bulk_min_per_grad_eval": 0.002},
        "sampler": {"num_grad_evals": 2000, "num_warmup_grad_evals": 500, "num_divergent": 1} | sampler,
        "variance": {"functions": variance, "weights": {"total": 2 * variance, "ratio": 0.5}},
        "test": {"posterior": {"lppd": -nll}, "map": {"lppd": -nll}, "mean_network": None},
    }


def test_a_study_holds_arms_against_standard_against_hmc_and_against_mean_field(monkeypatch):
    networks = {arch: Variant(ModelConfig().having({"arch": arch})) for arch in ("standard", "pruned")}
    arms = make_arms(networks, read_samplers(StudyConfig(samplers=("hmc", "meanfield", "laplace"))))
    rng = np.random.default_rng(0)
    # Arm or network -> repeats; NLL, ELBO, variance of functions and class probability of each.
    nlls = {name: rng.normal(size=3) for name in arms}
    elbos = {name: rng.normal(size=3) for name in arms}
    shares = {name: rng.uniform(0.1, 0.9, size=3) for name in [*arms, *networks]}
    variances = {name: rng.uniform(1, 2, size=3) for name in [*arms, *networks]}

    def summary_of(path):
        name, repeat = path.parts[-3], int(path.parts[-2])
        fit = {"elbo": [elbos[name][repeat]] * 2} if name in arms and "hmc" not in name else {}
        return make_summary(variances[name][repeat], nlls[name][repeat] if name in arms else 0.0, **fit)

    def sampled(path, *_):
        return Sampled(summary_metrics(summary_of(path / "summary.json")), {}, {"lppd": np.zeros(2)}, {}, 1.0)

    def predictive(path, _):
        share = shares[path.parts[-2]][int(path.parts[-1])]
        return np.array([[share, 1 - share]])

    def spent(path):
        return np.array([5.0, 50.0 if "hmc" in str(path) else 10.0])

    monkeypatch.setattr(summary, "read_sampled", sampled)
    monkeypatch.setattr(summary, "read_predictive", predictive)
    monkeypatch.setattr(summary, "gradients_spent", spent)
    monkeypatch.setattr(summary.run_files, "read_json", summary_of)
    posteriors = {name: [Path(name) / str(repeat) for repeat in range(3)] for name in arms}
    references = {name: [Path(name) / str(repeat) for repeat in range(2)] for name in networks}
    found, arrays = summary.compare(data.load("digits"), arms, posteriors, references)

    assert found["budget"] == 50  # Of samplers; fits take less.
    assert arrays["study/total_variation"][1].shape == (6, 6, 3, 3)
    entry = found["arms"]["pruned-laplace"]
    assert (entry["network"], entry["sampler"], entry["is_fit"]) == ("pruned", "laplace", True)
    nll = entry["metrics"]["nll"]["difference"]
    assert nll["mean"] == pytest.approx(np.mean(nlls["pruned-laplace"] - nlls["standard-laplace"]))
    beside = entry["plain_family"]["differences"]["elbo"]
    assert beside["mean"] == pytest.approx(np.mean(elbos["pruned-laplace"] - elbos["pruned-meanfield"]))
    distances = np.abs(shares["pruned-laplace"][:, None] - shares["pruned"][:2]).mean(axis=1)
    assert entry["metrics"]["reference_total_variation"]["repeats"] == pytest.approx(distances)
    ratios = variances["pruned-laplace"] / variances["pruned"][:2].mean()
    for name in ("function_variance_ratio", "weight_variance_reference_ratio"):
        assert entry["metrics"][name]["repeats"] == pytest.approx(ratios)
    assert found["arms"]["pruned-hmc"]["plain_family"] is found["arms"]["pruned-meanfield"]["plain_family"] is None
    assert np.isnan(found["arms"]["pruned-hmc"]["metrics"]["elbo"]["mean"])


def test_what_a_summary_lacks_is_not_a_number():
    sampler = {"num_grad_evals": 2000, "num_warmup_grad_evals": 500, "num_divergent": 1}
    spaces = {"function_space": {"rhat_max": 1.5, "ess_bulk_min_per_grad_eval": 0.002}, "weight_space": None}
    test = {"posterior": {"lppd": -0.25}, "map": None, "mean_network": {"raw": {"lppd": -1.0}, "aligned": None}}
    found = summary_metrics(spaces | {"sampler": sampler, "test": test, "modes": None})
    assert found["num_grad_evals_total"] == 2500 and found["function_ess_per_1000"] == 2
    assert (found["nll"], found["mean_network_nll"]) == (0.25, 1)
    for name in ("weight_rhat_max", "switches", "map_nll", "own_mean_network_excess", "accuracy"):
        assert np.isnan(found[name])
    bounds = {"elbo": [-3.0, -5.0], "information": [1.0, 2.0], "kl": [4.0, 4.0], "num_collapsed": [None, None]}
    fitted = summary_metrics(spaces | {"sampler": sampler | bounds, "test": test, "modes": None})
    assert (fitted["elbo"], fitted["information"], fitted["kl"]) == (-4, 1.5, 4) and np.isnan(fitted["collapsed"])
    assert np.isnan(found["elbo"])
    free = summary_metrics(spaces | {"sampler": sampler | {"num_grad_evals": 0.0}, "test": test, "modes": None})
    assert free["num_grad_evals_total"] == 500 and np.isnan(free["weight_ess_median_per_1000"])
