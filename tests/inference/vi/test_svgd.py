import numpy as np
import pytest
from linear_gaussian import draw, linear_gaussian

import asymjax
from asymjax.errors import InputError
from asymjax.inference.vi import SVGD

NUM_PARTICLES = 20


def test_particles_lie_as_the_posterior_of_a_linear_network():
    posterior, exact = linear_gaussian()
    sampler = SVGD(num_warmup=500, num_particles=NUM_PARTICLES)
    result, z = draw(posterior, sampler)
    layer = result.tuned.params["layers_0"]
    particles = np.concatenate([layer["bias"], layer["kernel"][..., 0]], -1)
    scales = np.sqrt(np.diag(exact.covariance))
    # Particles repel each other, so that their mean is nearer to the exact one than that of as many draws.
    errors = (particles.mean(1) - exact.mean) / (scales / np.sqrt(NUM_PARTICLES))
    assert np.abs(errors).max() < 1
    spread = particles.std(1) / scales
    assert np.all((spread > 0.5) & (spread < 1.5))
    assert all(len(np.unique(chain, axis=0)) == NUM_PARTICLES for chain in z)  # Missed by 500 draws once in 1e10.
    assert np.isnan(result.tuned.elbo).all() and "without an ELBO" in sampler.describe(result.tuned)


def test_one_particle_is_refused():
    posterior, _ = linear_gaussian()
    with pytest.raises(InputError, match="num_particles is 1"):
        asymjax.sample(None, posterior, sampler=SVGD(num_particles=1), num_chains=1, show_progress=False)
