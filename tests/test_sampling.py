"""Chains in memory: the draws of the scripts, any log density, arrays of one's own."""

import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from flax import linen as nn
from model_of import model_of

import asymjax
from asymjax import trees
from asymjax.errors import DivergedError, InputError
from asymjax.inference.approximations import SWAG
from asymjax.lab.results import open_results
from asymjax.types import Split

ROOT = Path(__file__).parents[1]
MEAN, COVARIANCE = np.array([1.0, -2.0]), np.array([[1.0, 0.8], [0.8, 2.0]])
MAX_STANDARD_ERRORS, MIN_ESS = 5, 400
QUIET = {"show_progress": False}


def bent(position):
    centred = position["x"] - MEAN
    return -0.5 * centred @ jnp.asarray(np.linalg.inv(COVARIANCE)) @ centred


def small_model(num_inputs=3, num_outputs=1):
    return model_of(widths=(4,), norm="none").build((num_inputs,), num_outputs)


def rows(num_rows=30, num_inputs=3):
    numbers = np.random.default_rng(0)
    X = 100 + 10 * numbers.normal(size=(num_rows, num_inputs))
    return X, 5000 + 20 * X[:, 0] + numbers.normal(size=num_rows)


IN_MEMORY = """
import sys
import jax, asymjax
from asymjax import data
from model_of import model_of

asymjax.configure_host_devices()
dataset = data.load("digits")
posterior = asymjax.make_posterior(model_of("w_asym", widths=(6,)).build(dataset.input_shape, 10), dataset)
sampler, start = asymjax.HMC(num_warmup=10, max_integration_steps=8), asymjax.Start(map_steps=10)
options = {"num_chains": 2, "num_draws": 8, "show_progress": False}
tree = asymjax.sample(jax.random.key(0), posterior, sampler=sampler, start=start, **options).to_datatree()
tree.to_zarr(sys.argv[1], consolidated=False)
"""


@pytest.mark.long
def test_draws_are_those_of_the_script_to_the_bit(python, tmp_path):
    settings = "--widths 6 --map-steps 10 --num-warmup 10 --num-draws 8 --num-chains 2 --max-integration-steps 8"
    words = ["--arch", "w_asym", *settings.split(), "--run-dir", tmp_path / "run", "--no-progress"]
    python(ROOT / "runs" / "bnn_hmc.py", *words, as_for_users=True)
    python("-c", IN_MEMORY, tmp_path / "memory.zarr", as_for_users=True)
    written = open_results(tmp_path / "run")
    tree = xarray.open_datatree(tmp_path / "memory.zarr", engine="zarr", consolidated=False)
    for group, count in (("posterior", 6), ("sample_stats", 5)):
        assert tree[group].data_vars.keys() == written[group].data_vars.keys() and len(tree[group].data_vars) == count
        for name, values in tree[group].data_vars.items():
            np.testing.assert_array_equal(values, written[group][name], err_msg=name)


def test_draws_of_a_log_density_have_its_moments():
    sampler = asymjax.HMC(num_warmup=200, mass_matrix="adapted", max_integration_steps=20)
    result = asymjax.sample(jax.random.key(1), bent, {"x": jnp.zeros(2)}, sampler=sampler, num_draws=1000, **QUIET)
    x = np.asarray(result.position["x"], float)
    assert x.shape == (4, 1000, 2) and not result.draws["is_divergent"].any()
    centred = x - MEAN
    for values, expected in ((x, MEAN), (centred[..., :, None] * centred[..., None, :], COVARIANCE)):
        ess = asymjax.ess(values)
        assert ess.min() > MIN_ESS
        error = values.mean((0, 1)) - expected
        assert np.all(np.abs(error) < MAX_STANDARD_ERRORS * values.std((0, 1)) / np.sqrt(ess))
    assert asymjax.rhat(x).max() < 1.02
    np.testing.assert_allclose(result.draws["logdensity"][0, 0], bent({"x": x[0, 0]}), rtol=1e-5)


def test_what_is_kept_is_a_function_of_the_position_and_thinned():
    options = {"num_chains": 2, "num_draws": 6, **QUIET}
    key, start = jax.random.key(2), (jnp.zeros(2), {"b": jnp.ones(())})

    def logdensity(position):
        return -0.5 * (jnp.sum(position[0] ** 2) + position[1]["b"] ** 2)

    whole = asymjax.sample(key, logdensity, start, sampler=asymjax.HMC(num_warmup=4), **options)
    assert whole.position[0].shape == (2, 6, 2) and whole.position[1]["b"].shape == (2, 6)
    kept = asymjax.sample(key, logdensity, start, sampler=asymjax.HMC(4), keep=lambda p: p[0].sum(), **options).kept
    np.testing.assert_allclose(kept["kept"], whole.position[0].sum(-1), rtol=1e-6)
    thinned = asymjax.sample(
        key, logdensity, start, sampler=asymjax.HMC(num_warmup=4, thinning=3), num_chains=2, num_draws=2, **QUIET
    )
    np.testing.assert_array_equal(thinned.position[0], whole.position[0][:, 2::3])
    with pytest.raises(InputError, match="positions were not kept"):
        _ = asymjax.sample(key, logdensity, start, keep=lambda p: p[0], sampler=asymjax.HMC(4), **options).position


@pytest.fixture(scope="module")
def regression():
    X, y = rows()
    model = small_model()
    posterior = asymjax.make_posterior(model, (X[:20], y[:20]), likelihood=asymjax.Gaussian(), standardise=True)
    options = {"sampler": asymjax.HMC(num_warmup=20, max_integration_steps=8), "num_chains": 2, "num_draws": 8}
    return (
        model,
        posterior,
        asymjax.sample(jax.random.key(0), posterior, start=asymjax.Start(map_steps=200), **options, **QUIET),
    )


def test_predictions_take_raw_inputs_and_are_in_the_units_of_the_targets(regression):
    model, posterior, result = regression
    X, y = rows()
    predicted = result.predict(X[20:])
    assert predicted.shape == (2, 8, 10, 1) and posterior.data.inputs.std() == pytest.approx(1, rel=1e-3)
    one = jax.tree.map(lambda leaf: leaf[1, 3], result.position)
    seen = (X[20:] - X[:20].mean(0)) / X[:20].std(0)
    expected = model.apply(one, {}, seen.astype(np.float32)) * y[:20].std() + y[:20].mean()
    np.testing.assert_allclose(predicted[1, 3], expected, rtol=1e-4)
    assert abs(predicted.mean() - y[20:].mean()) < y.std()
    assert result.optima["dense_0"]["bias"].shape == (2, 4) and result.tuned.step_size.shape == (2,)


def test_class_probabilities_add_up(regression):
    X, y = rows()
    posterior = asymjax.make_posterior(small_model(num_outputs=3), (X.tolist(), (y > y.mean()).astype(int)))
    start = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape)), posterior.shape)
    options = {"sampler": asymjax.HMC(4, max_integration_steps=4), "num_chains": 2, "num_draws": 3, "start": start}
    result = asymjax.sample(jax.random.key(0), posterior, **options, **QUIET)
    probabilities = result.predict(X[:4])
    assert probabilities.shape == (2, 3, 4, 3) and result.optima is None
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_all_draws_go_to_the_export(regression, monkeypatch):
    given = []
    monkeypatch.setitem(sys.modules, "asymjax.diagnostics.datatree", SimpleNamespace(to_datatree=given.append))
    regression[2].to_datatree()
    assert given[0].keys() >= {"position/dense_0/kernel", "logdensity", "acceptance_rate"}


def damaged(row, column, value):
    X, _ = rows()
    X[row, column] = value
    return X


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (damaged(4, 1, np.nan), rows()[1], "inputs: row 4, column 1 is nan"),
        (damaged(0, 2, np.inf), rows()[1], "inputs: row 0, column 2 is inf"),
        ([[1.0, 2.0, 3.0], [1.0, 2.0]], [0.5, 1.5], "inputs: row 1 has 2 entries, row 0 has 3"),
        ([["a", "b", "c"]], [0.5], "inputs: not numbers"),
        (rows()[0], rows()[1][:7], "inputs have 30 rows, targets 7"),
        (rows()[0][:, 0], rows()[1], r"the network takes \[rows, 3\]"),
        (rows()[0], np.where(np.arange(30) == 3, np.nan, 1.0), "targets: row 3 is nan"),
        (np.zeros((0, 3)), np.zeros(0), "give at least one row"),
        (rows()[0], np.zeros((30, 2)), "the network has 1 outputs; 2 targets with learned noise take 2"),
        (np.ma.masked_equal(rows()[0], rows()[0][0, 0]), rows()[1], "inputs: 1 entries are masked"),
        (rows()[0] + 1j, rows()[1], "inputs: not numbers"),
        (rows()[0].astype("datetime64[D]"), rows()[1], "inputs: not numbers"),
        (damaged(2, 0, 1e300), rows()[1], r"inputs: row 2, column 0 is 1e\+300; give finite numbers, which float32"),
        (rows()[0], rows()[1].astype(str), "targets: not numbers"),
    ],
)
def test_damaged_arrays_are_refused_with_row_and_column(inputs, targets, message):
    with pytest.raises(InputError, match=message):
        asymjax.make_posterior(small_model(), (inputs, targets))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.arange(30) % 3 + 1, "targets: row 2 is 3; the network has 3 outputs, so give whole numbers from 0 to 2"),
        (np.full(30, 0.5), "targets: row 0 is 0.5"),
        (np.zeros((30, 1), int), r"targets have shape \(30, 1\); give one class index a row"),
    ],
)
def test_labels_that_are_no_class_are_refused(targets, message):
    with pytest.raises(InputError, match=message):
        asymjax.make_posterior(small_model(num_outputs=3), (rows()[0], targets), likelihood="categorical")


@pytest.mark.parametrize("cast", [bool, "uint8", object, list])
def test_whole_numbers_and_booleans_of_any_kind_are_classes(cast):
    labels = np.arange(30) % 2
    targets = labels.tolist() if cast is list else labels.astype(cast)
    posterior = asymjax.make_posterior(small_model(num_outputs=2), (rows()[0], targets))
    assert isinstance(posterior.likelihood, asymjax.Categorical)
    np.testing.assert_array_equal(posterior.data.targets, labels)


@pytest.mark.parametrize(
    ("num_outputs", "targets", "message"),
    [
        (2, np.full(30, 2), "targets: row 0 is 2; the network has 2 outputs"),
        (2, np.zeros(29, int), "inputs have 30 rows, targets 29"),
        (1, np.zeros(30), r"targets have shape \(30,\); give numbers \[rows, targets\]"),
        (1, np.zeros((29, 1)), "inputs have 30 rows, targets 29"),
        (1, np.zeros((30, 2)), "the network has 1 outputs; 2 targets"),
    ],
)
def test_a_split_fits_its_network(num_outputs, targets, message):
    with pytest.raises(InputError, match=message):
        asymjax.make_posterior(small_model(num_outputs=num_outputs), Split(np.float32(rows()[0]), targets))


def test_a_column_that_is_constant_but_for_rounding_keeps_its_scale():
    X, y = rows()
    X[:, 1], X[:, 2] = 0.1, X[:, 2] * 1e-310
    units = asymjax.make_posterior(small_model(), (X, y), standardise=True).units
    assert X[:, 1].std() > 0
    np.testing.assert_array_equal(units.inputs[0][1][1:], 1)


@pytest.mark.parametrize("data", [None, (rows()[0],), (*rows(), rows()[1])])
def test_data_are_inputs_and_targets(data):
    with pytest.raises(InputError, match=r"give \(inputs, targets\)"):
        asymjax.make_posterior(small_model(), data)


def test_draws_with_a_mask_have_no_statistics():
    draws = np.random.default_rng(0).normal(size=(2, 20))
    with pytest.raises(InputError, match="draws: 1 entries are masked"):
        asymjax.rhat(np.ma.masked_equal(draws, draws.max()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": {"dense_0": {"kernel": np.zeros(3)}}}, "frozen has .*; the model fixes {}"),
        ({"temperature": "1"}, "temperature is '1'; give a number"),
        ({"temperature": 0.0}, r"temperature is 0.0; give a number in \[1e-15, 1e\+15\]"),
        ({"likelihood": "poisson"}, "unknown likelihood 'poisson', choose from categorical, gaussian"),
        ({"likelihood": asymjax.Gaussian(noise="heteroscedastic")}, "1 targets with heteroscedastic noise take 2"),
    ],
)
def test_settings_of_a_posterior_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        asymjax.make_posterior(small_model(), rows(), **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": asymjax.NUTS}, r"give a sampler with its settings, as asymjax.NUTS\(\)"),
        ({"num_draws": 0}, r"num_draws is 0; give a number in \[1, 1e\+09\]"),
        ({"num_draws": 8.0}, "num_draws is 8.0; give a whole number"),
        ({"num_chains": 2.5}, "2.5 networks or chains asked for; give a whole number"),
        ({"key": 0}, r"key is 0; give one, jax.random.key\(0\)"),
        ({"key": jax.random.split(jax.random.key(0))}, r"; give one, jax.random.key\(0\)"),
        ({"position": None}, "and a position to start from"),
        ({"position": {"x": jnp.zeros(2, int)}}, "position x holds int32; give floating numbers"),
        ({"target": lambda position: position["x"]}, "returns one floating number"),
        ({"target": lambda position: 0}, "returns one floating number"),
        ({"start": {"x": np.zeros((3, 2))}}, "give positions of 4 chains"),
        ({"start": asymjax.Start("prior")}, "a log density has no prior and no optima to start from"),
        ({"keep": lambda position: {"logdensity": position}}, "keep returns logdensity"),
        ({"sampler": asymjax.SGLD(num_warmup=4, thinning=1)}, "samplers on minibatches need rows"),
    ],
)
def test_what_cannot_be_sampled_is_refused(change, message):
    given = {"key": jax.random.key(0), "target": bent, "position": {"x": jnp.zeros(2)}, **QUIET} | change
    with pytest.raises(InputError, match=message):
        asymjax.sample(**given)


def test_a_density_that_is_not_finite_is_told_with_its_chain():
    with pytest.raises(DivergedError, match="the log density of chain 0 is nan"):
        asymjax.sample(
            jax.random.key(0),
            lambda x: jnp.sum(x) * jnp.nan,
            jnp.zeros(1),
            sampler=asymjax.HMC(4),
            num_draws=4,
            **QUIET,
        )


def test_a_bound_that_is_no_number_names_the_fit_and_the_step():
    with pytest.raises(DivergedError, match="the bound of fit 0 is nan by step 0; lower the learning rate"):
        asymjax.fit(
            jax.random.key(0),
            lambda x: jnp.sum(x) * jnp.nan,
            jnp.zeros(1),
            family=asymjax.MeanField(num_warmup=4, num_elbo_draws=2),
            num_draws=4,
            num_fits=2,
            show_progress=False,
        )


def test_what_is_no_family_is_no_fit():
    with pytest.raises(InputError, match=r"family is HMC\(.*give a family"):
        asymjax.fit(jax.random.key(0), lambda x: -jnp.sum(x**2), jnp.zeros(1), family=asymjax.HMC())


def test_a_swag_of_a_posterior_draws_apart():
    X, y = rows()
    posterior = asymjax.make_posterior(small_model(), (X, y), likelihood="gaussian", standardise=True)
    sampler = SWAG(num_warmup=80, batch_size=8)
    result = asymjax.sample(
        jax.random.key(0), posterior, sampler=sampler, num_draws=6, start=asymjax.Start("prior"), **QUIET
    )
    assert len(np.unique(result.position["dense_0"]["bias"].reshape(24, -1), axis=0)) == 24
    assert not result.draws["num_grad_evals"].any() and np.isfinite(result.draws["logdensity"]).all()
    assert trees.num_entries(posterior.shape) == sum(leaf[0, 0].size for leaf in jax.tree.leaves(result.position))


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, tokens, lengths):
        x = nn.Embed(5, 3)(tokens).mean(axis=1)
        return nn.Dense(2)(nn.tanh(nn.Dense(4)(jnp.concatenate([x, lengths], axis=-1))))


def test_networks_of_tokens_and_of_several_inputs_are_sampled_on_arrays_of_ones_own():
    numbers = np.random.default_rng(0)
    tokens, lengths = numbers.integers(5, size=(30, 6)), 100 + numbers.normal(size=(30, 1))
    model = asymjax.from_flax(Tokens(), (np.zeros((2, 6), np.int32), np.ones((2, 1), np.float32)))
    labels = (tokens[:, 0] > 2).astype(int)
    posterior = asymjax.make_posterior(model, ((tokens, lengths), labels), standardise=True)
    seen = posterior.data.inputs
    assert seen[0].dtype == jnp.int32 and abs(float(seen[1].mean())) < 1e-5
    sampler, start = asymjax.HMC(num_warmup=10, max_integration_steps=5), asymjax.Start(start="prior")
    result = asymjax.sample(jax.random.key(0), posterior, sampler=sampler, num_draws=8, start=start, **QUIET)
    assert result.predict((tokens[:3], lengths[:3])).shape == (4, 8, 3, 2)
    with pytest.raises(InputError, match=r"inputs 0: row 1 is not whole"):
        asymjax.make_posterior(model, ((tokens + [[0]] + 0.5 * (np.arange(30) == 1)[:, None], lengths), labels))
    with pytest.raises(InputError, match=r"inputs are a ndarray; the network takes PyTreeDef"):
        asymjax.make_posterior(model, (tokens, labels))
