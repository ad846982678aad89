"""Full rank where it has many coordinates: its steps stay in proportion."""

import jax
import jax.numpy as jnp
import pytest
from sklearn.datasets import load_diabetes

import asymjax
from asymjax import trees
from asymjax.inference.vi import fullrank
from asymjax.models.config import ModelConfig


@pytest.fixture(scope="module")
def posterior():
    model = ModelConfig.of(widths=(16, 16), norm="none", activation="tanh").build((10,), 1)
    return asymjax.make_posterior(model, load_diabetes(return_X_y=True), standardise=True)


def bound_of(posterior):
    family = asymjax.FullRank(num_warmup=1500, num_elbo_draws=20)
    options = {"num_fits": 1, "num_draws": 4, "start": asymjax.Start(map_steps=0), "show_progress": False}
    return float(asymjax.fit(jax.random.key(0), posterior, family=family, **options).tuned.elbo[0])


@pytest.mark.long
def test_a_fit_of_many_coordinates_does_not_run_away(posterior, monkeypatch):
    assert trees.num_entries(posterior.shape) > 400
    # Unit noise for the 442 standardised targets alone has a log likelihood of -627; mean field ends at -586.
    assert bound_of(posterior) > -1000
    # A control: by steps of the factor's own entries it does.
    own = property(lambda self: jnp.tril(self.below, -1) + jnp.diag(jnp.exp(self.log_diagonal)))
    monkeypatch.setattr(fullrank.Dense, "factor", own)
    assert bound_of(posterior) < -1e4
