"""Every sampler on every target with every method, one pytest case each.

pytest benchmarks/test_convergence.py --run-benchmarks -n 0 -k "two_units and hmc" [--data-dir DATA/uci]
"""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench_convergence import BIASED, Config, main, make_target
from exact import solve
from measure import has_changes
from scipy.special import logsumexp

from asymjax import data, rng
from asymjax.errors import InputError
from asymjax.inference import ALGORITHMS
from asymjax.inference.posterior import draw_prior
from asymjax.types import Array, Key

UCI = [f"uci/{name}{network}" for name in ("energy", "yacht", "airfoil", "concrete") for network in (":2x16", ":4x16")]
# Of predicting the mean and spread of standardised targets, or all classes alike.
TRIVIAL_LPPD = {"digits": -math.log(10)}
TRIVIAL_LPPD_OF_REGRESSION = -0.5 * math.log(2 * math.pi * math.e)
MAX_STANDARD_ERRORS = 5


# A run directory stays locked, its lock file open, as long as somebody may hold the run.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("arch", ["standard", "w_asym", "sigma_asym"])
@pytest.mark.parametrize("sampler", ALGORITHMS)
@pytest.mark.parametrize("target", ["linear", "two_units", "toy", "digits", *UCI])
def test_a_sampler_runs_predicts_and_finds_what_is_known(
    request: pytest.FixtureRequest, target: str, sampler: str, arch: str
) -> None:
    """No chain leaves the finite numbers; predictions beat a constant; exact samplers agree with the exact answer."""
    data_dir = request.config.getoption("--data-dir")
    if target.startswith("uci/") and data_dir is None:
        pytest.skip("give --data-dir")
    (row,) = main(Config((target,), (arch,), (sampler,), data_dir=data_dir, save=False))
    assert "failure" not in row
    assert row["lppd"] > TRIVIAL_LPPD.get(target, TRIVIAL_LPPD_OF_REGRESSION)
    # Draws of swag, from its Gaussian, take none.
    assert np.all(np.diff(row["curve"]["num_grad_evals"]) >= (sampler != "swag"))
    if "log_evidence" in row and sampler not in BIASED:
        assert row["gradients_to_1.05"] is not None
        assert np.max([row["mean_error"], row["variance_error"]]) < MAX_STANDARD_ERRORS


def test_the_grid_agrees_with_draws_from_the_prior() -> None:
    """Evidence, mean and variance by importance sampling, without any algebra; that takes more noise."""
    config, model_config, posterior = make_target("two_units", "standard", None)
    posterior = replace(posterior, noise_scale=4.0)
    toy = data.load(config.dataset)
    inputs = jnp.asarray(np.asarray(toy.test.inputs))
    problem = posterior.build(model_config, toy)
    answer = solve(problem, posterior, np.asarray(inputs), spacing=0.3)

    def draw(key: Key) -> tuple[Array, Array]:
        position = draw_prior(key, problem.prior_mean, problem.prior_scale, problem.shape)
        logs = problem.loglikelihood(position, problem.frozen, problem.data)
        return logs.sum(), problem.predict(position, problem.frozen, inputs)[:, 0]

    logs, outputs = (
        np.asarray(values, np.float64)
        for values in jax.jit(jax.vmap(draw))(rng.member_keys(jax.random.key(0), 200_000))
    )
    weights = np.exp(logs - logsumexp(logs))
    error = np.sqrt(np.square(weights).sum())
    assert error < 0.02
    assert abs(logsumexp(logs) - math.log(len(logs)) - answer.log_evidence) < 4 * error
    errors = np.sqrt(np.square(weights[:, None] * (outputs - answer.mean)).sum(0))
    assert np.all(np.abs(weights @ outputs - answer.mean) < 4 * errors)
    squares = np.square(outputs - answer.mean)
    errors = np.sqrt(np.square(weights[:, None] * (squares - answer.variance)).sum(0))
    assert np.all(np.abs(weights @ squares - answer.variance) < 4 * errors)


def test_two_grids_agree_on_the_evidence_of_the_benchmark() -> None:
    """The grid resolves the posterior at the noise that samplers are held against."""
    config, model_config, posterior = make_target("two_units", "standard", None)
    toy = data.load(config.dataset)
    problem, inputs = posterior.build(model_config, toy), np.asarray(toy.test.inputs[:2])
    fine, coarse = (solve(problem, posterior, inputs, spacing).log_evidence for spacing in (0.25, 0.3))
    assert abs(fine - coarse) < 0.01


@pytest.mark.parametrize("changed", [{"temperature": 0.5}, {"noise": "learned"}])
def test_what_has_no_exact_answer_is_refused(changed: dict) -> None:
    """A tempered posterior, or one whose noise is learned."""
    config, model_config, posterior = make_target("two_units", "standard", None)
    posterior, toy = replace(posterior, **changed), data.load(config.dataset)
    with pytest.raises(InputError, match="an answer is known"):
        solve(posterior.build(model_config, toy), posterior, np.asarray(toy.test.inputs))


def test_rows_are_saved_kept_by_a_second_call_and_drawn(tmp_path: Path) -> None:
    """A second call runs nothing anew unless code differs from the commit, and the figure is drawn from the file."""

    def run(script: str, *words: str | Path) -> list[str]:
        command = [sys.executable, Path(__file__).with_name(script), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()

    words = ["--targets", "linear", "--archs", "standard", "--samplers", "hmc", "--num-draws", "8", "--resume"]
    words += ["--name", str(tmp_path / "rows")]
    run("bench_convergence.py", *words)
    *printed, _, path = run("bench_convergence.py", *words)
    assert Path(path) == tmp_path / "rows.json"
    assert (printed == []) != has_changes()
    figure = tmp_path / "figure.png"
    run("plot_convergence.py", path, "--out", figure)
    assert figure.stat().st_size > 10_000
