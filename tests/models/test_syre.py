"""Scales of the offset of syre, and where its networks start."""

import jax
import numpy as np
import pytest
from model_of import model_of

from asymjax import trees
from asymjax.inference.posterior import PosteriorConfig
from asymjax.models import draw_frozen

CONFIG = model_of("syre", widths=(200, 100), norm="none")


@pytest.mark.parametrize(
    ("fixed_scale", "prior", "expected"),
    [
        ((), PosteriorConfig(prior_scale=1.0), [50**-0.5, 200**-0.5, 100**-0.5]),
        ((), PosteriorConfig(prior_scale=2.0), [2 * 50**-0.5, 2 * 200**-0.5, 2 * 100**-0.5]),
        ((), PosteriorConfig(prior="isotropic", prior_scale=0.3), [0.3, 0.3, 0.3]),
        ((0.5,), PosteriorConfig(prior="isotropic"), [0.5, 0.5, 0.5]),
        ((1.0, 2.0, 0.0), PosteriorConfig(), [1.0, 2.0, 0.0]),
    ],
)
def test_offsets_have_the_scale_of_the_prior_unless_told_otherwise(fixed_scale, prior, expected):
    model = CONFIG.having({"fixed_scale": fixed_scale}).build((50,), 20, prior.normal_prior)
    frozen = trees.flatten(draw_frozen(model, 0))
    assert list(frozen) == ["dense_0/kernel/offset", "dense_1/kernel/offset", "output/kernel/offset"]
    # The least kernel has 2000 entries, so a standard deviation is good to 1.6 %.
    np.testing.assert_allclose([offset.std() for offset in frozen.values()], expected, rtol=0.08)


def test_a_fresh_network_is_a_plain_one_moved_by_the_offset():
    """Without a prior or a decay, one that started at the plain network would train as that."""
    model, plain = (model_of(arch, widths=(4,), norm="none").build((5,), 3) for arch in ("syre", "standard"))
    frozen = draw_frozen(model, 0)
    position, start = model.init(jax.random.key(1), frozen), plain.init(jax.random.key(1), {})
    jax.tree.map(np.testing.assert_array_equal, position, start)
    moved = trees.flatten(model.merge(position, frozen))
    for path, offset in trees.flatten(frozen).items():
        kernel = path.removesuffix("/offset")
        np.testing.assert_array_equal(moved[kernel], np.asarray(trees.flatten(start)[kernel]) + np.asarray(offset))
