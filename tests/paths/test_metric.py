import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asymjax.errors import InputError
from asymjax.models.backbones import MLP
from asymjax.models.build import build_model, draw_frozen
from asymjax.models.methods import Standard
from asymjax.paths.metric import bhattacharyya, jacobian, make_products, squared_distance
from asymjax.types import Graph

WEIGHTS = np.array([[0.5, -1.0, 0.2], [0.3, 0.8, -0.6]])


def logits_of(position, inputs):
    return jnp.tanh(inputs @ position["w"]) * 2 + position["b"][None]


def kullback_leibler(outputs, others):
    return optax.losses.kl_divergence(jax.nn.log_softmax(others), jax.nn.softmax(outputs))


@pytest.fixture
def small():
    generator = np.random.default_rng(0)
    position = {"b": generator.normal(size=3), "w": WEIGHTS}
    return position, generator.normal(size=(5, 2))


def test_distances_of_known_probabilities():
    half, sure = jnp.log(jnp.array([[0.5, 0.5]])), jnp.log(jnp.array([[1.0, 1e-30]]))
    assert bhattacharyya(half, half) == pytest.approx(0, abs=1e-7)
    assert bhattacharyya(half, sure) == pytest.approx(np.log(2) / 2, abs=1e-6)
    assert bhattacharyya(half, sure) == pytest.approx(float(bhattacharyya(sure, half)[0]))
    assert squared_distance(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])) == pytest.approx(5)


def test_bhattacharyya_is_smooth_where_both_agree():
    logits = jnp.array([[0.3, -2.0, 5.0]])
    assert np.allclose(jax.grad(lambda other: bhattacharyya(logits, other)[0])(logits), 0, atol=1e-7)


def test_rounding_makes_no_bhattacharyya_distance_negative_and_takes_no_derivative():
    logits = 3 * jax.random.normal(jax.random.key(0), (1000, 10))
    sums = -jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=-1)
    assert sums.min() < 0  # Of the same logits, without care.
    assert bhattacharyya(logits, logits).min() == 0
    beside = logits + 1e-4 * jax.random.normal(jax.random.key(1), logits.shape)
    lost = bhattacharyya(beside, logits) == 0
    assert 0.1 < lost.mean() < 0.9
    # The distance of near logits is an eighth of d^T (diag p - p p^T) d.
    slopes = jax.grad(lambda one: jnp.sum(bhattacharyya(one, logits)))(beside)
    p, apart = jax.nn.softmax(logits), beside - logits
    expected = p * (apart - jnp.sum(p * apart, axis=1, keepdims=True)) / 4
    assert np.allclose(slopes, expected, atol=2e-7) and jnp.abs(expected[lost]).max() > 1e-5


@pytest.mark.parametrize(("distance", "share"), [(bhattacharyya, 1 / 8), (kullback_leibler, 1 / 2)])
def test_the_fisher_metric_is_what_distances_are_for_small_steps(small, distance, share):
    with jax.enable_x64(True):
        position, inputs = jax.tree.map(jnp.asarray, small)
        root = jacobian(logits_of, position, inputs, "fisher")
        direction = np.random.default_rng(1).normal(size=root.shape[1])
        errors = []
        for size in (1e-1, 1e-2, 1e-3):
            step = size * direction / np.linalg.norm(direction)
            moved = {"b": position["b"] + step[:3], "w": position["w"] + step[3:].reshape(2, 3)}
            found = jnp.sum(distance(logits_of(position, inputs), logits_of(moved, inputs)))
            errors.append(abs(float(found / jnp.sum(jnp.square(root @ step))) - share))
        assert errors[-1] < 1e-3 * share
        assert errors[1] < 0.2 * errors[0]


def test_the_hessian_of_bhattacharyya_is_a_quarter_of_the_fisher_metric(small):
    with jax.enable_x64(True):
        position, inputs = jax.tree.map(jnp.asarray, small)
        flat, unravel = jax.flatten_util.ravel_pytree(position)
        start = logits_of(position, inputs)
        hessian = jax.hessian(lambda flat: jnp.sum(bhattacharyya(start, logits_of(unravel(flat), inputs))))(flat)
        root = jacobian(logits_of, position, inputs, "fisher")
        assert np.max(np.abs(hessian - root.T @ root / 4)) < 1e-12


@pytest.mark.parametrize("metric", ["output", "fisher"])
def test_products_are_those_of_the_matrix(small, metric):
    position, inputs = small
    matrix, products = jacobian(logits_of, position, inputs, metric), make_products(logits_of, position, inputs, metric)
    vector = {"b": np.ones(3, np.float32), "w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    flat = np.concatenate([vector["b"], vector["w"].ravel()])
    pushed = products.push(vector)
    assert np.allclose(pushed.ravel(), matrix @ flat, atol=1e-5)
    pulled = products.pull(pushed)
    assert np.allclose(np.concatenate([pulled["b"], pulled["w"].ravel()]), matrix.T @ (matrix @ flat), atol=1e-4)


def test_adding_a_constant_to_all_logits_is_free_in_the_fisher_metric(small):
    position, inputs = small
    constant = np.concatenate([np.ones(3), np.zeros(6)])
    assert np.max(np.abs(jacobian(logits_of, position, inputs, "fisher") @ constant)) < 1e-6
    assert np.max(np.abs(jacobian(logits_of, position, inputs) @ constant)) == pytest.approx(1)


def test_rank_is_at_most_the_number_of_outputs_and_null_steps_are_second_order():
    model = build_model(Standard(), MLP((8,), norm="none", activation="tanh"), (4,), 3)
    with jax.enable_x64(True):
        frozen = draw_frozen(model, 0)
        position = jax.tree.map(lambda leaf: leaf.astype(float), model.init(jax.random.key(0), frozen))
        inputs = np.random.default_rng(0).normal(size=(6, 4))

        def outputs_of(position, inputs):
            return model.apply(position, frozen, inputs)

        matrix = np.asarray(jacobian(outputs_of, position, inputs))
        assert np.linalg.matrix_rank(matrix) == 18
        flat, unravel = jax.flatten_util.ravel_pytree(position)
        null = np.linalg.svd(matrix)[2][-1]
        change = [
            float(jnp.max(jnp.abs(outputs_of(unravel(flat + size * null), inputs) - outputs_of(position, inputs))))
            for size in (1e-1, 1e-2)
        ]
        assert 80 < change[0] / change[1] < 125


def test_graphs_are_refused():
    with pytest.raises(InputError, match="graph"):
        jacobian(logits_of, {}, Graph(np.ones((2, 2)), np.array([0]), np.array([1]), np.array([0, 1])))
