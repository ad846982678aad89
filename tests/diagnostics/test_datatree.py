"""Draws as a DataTree, and what ArviZ, of either major version, sees in it."""

import numpy as np
import pytest
import xarray

from asymjax import diagnostics
from asymjax.errors import InputError


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    return {
        "position/dense_0/kernel": rng.normal(size=(2, 30, 3, 4)),
        "position/dense_0/bias": rng.normal(size=(2, 30, 4)),
        "outputs": rng.normal(size=(2, 30, 5, 1)),
        "logdensity": rng.normal(size=(2, 30)),
        "acceptance_rate": rng.uniform(size=(2, 30)),
        "is_divergent": rng.uniform(size=(2, 30)) < 0.1,
        "num_grad_evals": np.full((2, 30), 10.0),
        "energy_change": rng.normal(size=(2, 30)),
    }


def arviz_and(tree):
    """Return ArviZ and what its installed version takes in place of a DataTree."""
    arviz = pytest.importorskip("arviz")
    return arviz, arviz.from_datatree(tree) if hasattr(arviz, "from_datatree") else tree


def test_draws_arrive_under_their_names(draws):
    tree = diagnostics.to_datatree(draws)
    kernel = tree["posterior/dense_0.kernel"]
    assert kernel.dims == ("chain", "draw", "dense_0.kernel_dim_0", "dense_0.kernel_dim_1")
    np.testing.assert_array_equal(kernel, draws["position/dense_0/kernel"])
    assert tree["posterior_predictive/outputs"].dims == ("chain", "draw", "input", "output")
    names = {"lp": "logdensity", "diverging": "is_divergent", "energy_error": "energy_change"}
    for name, own in {**names, "acceptance_rate": "acceptance_rate", "num_grad_evals": "num_grad_evals"}.items():
        np.testing.assert_array_equal(tree["sample_stats"][name], draws[own])


def test_nested_weights_and_what_is_not_given(draws):
    nested = {"position": {"dense_0": {"kernel": draws["position/dense_0/kernel"]}}, "outputs": None}
    tree = diagnostics.to_datatree(nested)
    assert list(tree.children) == ["posterior"]
    np.testing.assert_array_equal(tree["posterior/dense_0.kernel"], draws["position/dense_0/kernel"])


def test_whatever_else_was_kept_is_of_the_posterior():
    tree = diagnostics.to_datatree({"position": np.zeros((2, 3, 4)), "kept": {"norm": np.ones((2, 3))}})
    assert tree["posterior/position"].dims == ("chain", "draw", "position_dim_0")
    assert tree["posterior/kept.norm"].dims == ("chain", "draw")


def test_arviz_sees_the_same_rhat(draws):
    arviz, data = arviz_and(diagnostics.to_datatree(draws))
    expected = diagnostics.per_coordinate(draws["position/dense_0/bias"])["rhat"]
    found = arviz.rhat(data)
    np.testing.assert_allclose(found["dense_0.bias"], expected)


def test_arviz_summarises_weights(draws):
    arviz, data = arviz_and(diagnostics.to_datatree(draws))
    assert arviz.summary(data, var_names=["dense_0.bias"]).index.tolist() == [f"dense_0.bias[{i}]" for i in range(4)]


def test_loo_finds_the_pointwise_likelihood():
    log_likelihood = np.random.default_rng(1).normal(size=(2, 500, 40)) / 10
    arviz, data = arviz_and(diagnostics.to_datatree({"position/bias": log_likelihood[..., 0]}, log_likelihood))
    assert arviz.loo(data).n_data_points == 40


def test_survives_a_store(draws, tmp_path):
    tree = diagnostics.to_datatree(draws)
    tree.to_zarr(tmp_path / "draws.zarr", zarr_format=3, consolidated=False)
    with xarray.open_datatree(tmp_path / "draws.zarr", engine="zarr", consolidated=False) as back:
        assert back.identical(tree)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("logdensity", (2, 30, 1), r"logdensity has shape \(2, 30, 1\), expected \[chain, draw\]"),
        ("outputs", (2, 30, 5), r"outputs has shape \(2, 30, 5\), expected \[chain, draw, input, output\]"),
        ("position/bias", (2,), r"chains and draws differ: .*'position/bias': \(2,\)"),
        ("position/bias", (2, 29), r"chains and draws differ: .*'position/bias': \(2, 29\)"),
    ],
)
def test_what_does_not_fit_is_named(draws, name, shape, said):
    with pytest.raises(InputError, match=said):
        diagnostics.to_datatree(draws | {name: np.zeros(shape)})
