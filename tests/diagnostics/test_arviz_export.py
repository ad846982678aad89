"""The export to ArviZ."""

import sys
from types import SimpleNamespace

import arviz
import numpy as np
import pytest

from asymjax import diagnostics


@pytest.fixture
def draw():
    rng = np.random.default_rng(0)
    return SimpleNamespace(
        position={"dense_0": {"kernel": rng.normal(size=(2, 30, 3, 4)), "bias": rng.normal(size=(2, 30, 4))}},
        outputs=rng.normal(size=(2, 30, 5, 1)),
        logdensity=rng.normal(size=(2, 30)),
        acceptance_rate=rng.uniform(size=(2, 30)),
        is_divergent=rng.uniform(size=(2, 30)) < 0.1,
        num_grad_evals=np.full((2, 30), 10.0),
        energy_change=rng.normal(size=(2, 30)),
    )


def test_draws_arrive_under_their_names(draw):
    data = diagnostics.to_inference_data(*vars(draw).values())
    np.testing.assert_array_equal(data.posterior["dense_0.kernel"], draw.position["dense_0"]["kernel"])
    assert data.posterior["outputs"].dims == ("chain", "draw", "input", "output")
    np.testing.assert_array_equal(data.sample_stats["lp"], draw.logdensity)
    np.testing.assert_array_equal(data.sample_stats["diverging"], draw.is_divergent)
    np.testing.assert_array_equal(data.sample_stats["energy_error"], draw.energy_change)


def test_arviz_sees_the_same_rhat(draw):
    data = diagnostics.to_inference_data(draw.position)
    expected = diagnostics.per_coordinate(draw.position["dense_0"]["bias"])["rhat"]
    np.testing.assert_allclose(arviz.rhat(data)["dense_0.bias"], expected)


def test_what_is_not_given_makes_no_group(draw):
    assert diagnostics.to_inference_data(draw.position).groups() == ["posterior"]
    assert "posterior" not in diagnostics.to_inference_data(None, logdensity=draw.logdensity).groups()


def test_loo_finds_the_pointwise_likelihood():
    log_likelihood = np.random.default_rng(1).normal(size=(2, 500, 40)) / 10
    data = diagnostics.to_inference_data({"bias": log_likelihood[..., 0]}, log_likelihood=log_likelihood)
    assert arviz.loo(data).n_data_points == 40


def test_survives_a_file(draw, tmp_path):
    data = diagnostics.to_inference_data(*vars(draw).values())
    data.to_netcdf(str(tmp_path / "draws.nc"))
    back = arviz.from_netcdf(str(tmp_path / "draws.nc"))
    np.testing.assert_array_equal(back.posterior["dense_0.kernel"], data.posterior["dense_0.kernel"])


def test_missing_arviz_names_the_extra(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"asymjax\[arviz\]"):
        diagnostics.to_inference_data(draw.position)
