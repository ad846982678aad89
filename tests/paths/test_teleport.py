"""Teleports leave the function where it is and let their objective fall: known answers, caps, training with them."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from model_of import drawn_constants, drawn_position, model_of

from asymjax import from_flax, trees
from asymjax.errors import InputError
from asymjax.paths import teleport
from asymjax.paths.objectives import new_task
from asymjax.paths.teleport import TeleportConfig, make_teleport
from asymjax.symmetry.continuous import find_group
from asymjax.train import make_train
from asymjax.train.losses import cross_entropy
from asymjax.types import Split

KEY = jax.random.key(0)
NUM_INPUTS, NUM_OUTPUTS = 5, 3
KEPT = 1e-6  # Of losses of about one.


def network(activation="relu", norm="none", arch="standard", widths=(6,)):
    model = model_of(arch, widths=widths, activation=activation, norm=norm).build((NUM_INPUTS,), NUM_OUTPUTS)
    frozen = drawn_constants(model)
    return model, frozen, jax.tree.map(jnp.asarray, drawn_position(model, frozen))


def rows(num_rows=64):
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(num_rows, NUM_INPUTS)).astype("float32")
    return Split(jnp.asarray(inputs), jnp.asarray((inputs[:, 0] > 0).astype("int32") + (inputs[:, 1] > 0)))


def linear_network():
    """Return two linear layers without biases, whose units mix by the general linear group."""
    layers = nn.Sequential([nn.Dense(4, use_bias=False), nn.Dense(NUM_OUTPUTS, use_bias=False)])
    model = from_flax(layers, np.zeros((2, NUM_INPUTS), np.float32))
    return model, {}, model.init(KEY, {})


@cache
def orbit(activation="relu", **settings):
    """Return network, constants, position, action, identity and loss."""
    model, frozen, position = linear_network() if activation == "linear" else network(activation, **settings)
    group = find_group(model, frozen)
    loss = new_task(model, frozen, "classification")
    return model, frozen, position, teleport.action(group, model, frozen), group.identity, loss


# Known answers ----------------------------------------------------------------------------------------------------


def test_the_steepest_point_of_an_ellipsoid_is_on_its_shortest_axis_and_one_step_lands():
    """Of w^T Lam w / 2 = c the largest |grad|^2 is 2 c lam_max; a step of 1 / lam_max from there is at the minimum."""
    curvatures = jnp.array([1.0, 3.0, 10.0])

    def loss(key, position, data):
        return jnp.sum(curvatures * jnp.square(position["w"])) / 2

    def act(position, element):
        turning = jnp.zeros((3, 3)).at[np.triu_indices(3, 1)].set(element)
        on_sphere = jax.scipy.linalg.expm(turning - turning.T) @ (jnp.sqrt(curvatures) * position["w"])
        return {"w": on_sphere / jnp.sqrt(curvatures)}

    config = TeleportConfig(num_steps=60, step_size=0.3, max_length=20.0)
    jump = jax.jit(make_teleport(act, jnp.zeros(3), loss, teleport.steep(loss, 1e6), config))
    found = jump(KEY, {"w": jnp.array([1.2, -0.3, 0.1])}, None)
    slope = curvatures * found.position["w"]
    level = float(found.loss_before)
    assert float(jnp.sum(jnp.square(slope))) == pytest.approx(2 * level * 10, rel=1e-4)
    assert found.loss_after == pytest.approx(level, rel=1e-5)
    assert np.allclose(found.position["w"] - slope / 10, 0, atol=0.01)
    assert abs(float(found.position["w"][2])) == pytest.approx(np.sqrt(2 * level / 10), rel=1e-4)


@pytest.mark.parametrize(("max_length", "max_gradient"), [(1.5, 1e9), (50.0, 20.0)])
def test_an_orbit_without_end_needs_a_cap_and_keeps_it(max_length, max_gradient):
    """Of f = abx the gradient r^2 (a^2 + b^2) has no bound on ab = const: either cap ends the way."""

    def loss(key, position, data):
        return jnp.square(position["a"] * position["b"] - 2) / 2

    def act(position, element):
        return {"a": position["a"] * jnp.exp(element), "b": position["b"] * jnp.exp(-element)}

    def norm(position):
        return trees.norm(jax.grad(lambda position: loss(KEY, position, None))(position))

    start = {"a": jnp.array(1.1), "b": jnp.array(0.9)}
    config = TeleportConfig(num_steps=50, step_size=0.5, max_length=max_length)
    found = jax.jit(make_teleport(act, jnp.zeros(()), loss, teleport.steep(loss, max_gradient), config))(
        KEY, start, None
    )
    assert norm(start) < norm(found.position) <= max_gradient
    assert found.length <= max_length * (1 + 1e-6)
    assert found.position["a"] / start["a"] <= np.exp(max_length) * (1 + 1e-5)
    assert found.loss_after == pytest.approx(float(found.loss_before), abs=KEPT)
    near_the_cap = found.length > 0.99 * max_length or norm(found.position) > 0.9 * max_gradient
    assert near_the_cap


def test_orbits_that_are_circles_and_hyperbolas_have_their_curvature():
    def turn(position, element):
        return jnp.array([[jnp.cos(element), -jnp.sin(element)], [jnp.sin(element), jnp.cos(element)]]) @ position

    def scale(position, element):
        return position * jnp.exp(jnp.array([1.0, -1.0]) * element)

    assert teleport.orbit_curvature(turn, jnp.array([0.0, 4.0]), jnp.array(3.0)) == pytest.approx(1 / 4)
    assert teleport.orbit_curvature(scale, jnp.array([1.0, 1.0]), jnp.array(0.5)) == pytest.approx(0.5**0.5)


# Networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", pytest.param("linear", marks=pytest.mark.long)])
def test_every_teleport_keeps_the_loss_and_lets_its_objective_fall(activation):
    model, frozen, position, act, identity, loss = orbit(activation)
    config = TeleportConfig(num_steps=8, max_length=1.0)
    objectives = {
        "steep": teleport.steep(loss, 1e3),
        "sharp": teleport.opposite(teleport.flat(loss, (0.3, 0.6), 2)),
        "curved": teleport.opposite(teleport.straight(act, identity, 2)),
    }
    objectives = objectives if activation == "relu" else {"steep": objectives["steep"]}

    @jax.jit
    def jump(position, data):
        return {
            name: make_teleport(act, identity, loss, objective, config)(KEY, position, data)
            for name, objective in objectives.items()
        }

    data = rows()
    outputs = np.asarray(model.apply(position, frozen, data.inputs))
    for name, found in jump(position, data).items():
        assert found.after < found.before, name
        assert found.loss_after == pytest.approx(float(found.loss_before), abs=KEPT)
        assert 0 < found.length <= 1 + 1e-6
        assert trees.norm(jax.tree.map(jnp.subtract, found.position, position)) > 0.01
        moved = np.asarray(model.apply(found.position, frozen, data.inputs))
        assert np.abs(moved - outputs).max() < 1e-5
        elsewhere = 10 * jnp.ones((1, NUM_INPUTS))
        assert np.allclose(*(model.apply(at, frozen, elsewhere) for at in (found.position, position)), rtol=1e-4)


def test_a_network_without_continuous_symmetries_stays():
    position, act, identity, loss = orbit("tanh")[2:]
    assert all(leaf.size == 0 for leaf in jax.tree.leaves(identity))
    found = make_teleport(act, identity, loss, teleport.steep(loss, 1e3), TeleportConfig())(KEY, position, rows())
    assert found.length == 0
    assert found.after == found.before
    assert jax.tree.all(jax.tree.map(np.array_equal, found.position, position))


def test_where_the_gradient_is_above_its_cap_already_nothing_moves():
    position, act, identity, loss = orbit()[2:]
    jump = make_teleport(act, identity, loss, teleport.steep(loss, 1e-3), TeleportConfig(num_steps=2))
    found = jax.jit(jump)(KEY, position, rows())
    assert found.length == 0
    assert jax.tree.all(jax.tree.map(np.array_equal, found.position, position))


def test_balanced_units_are_as_long_on_their_way_in_as_on_their_way_out():
    model, frozen, position, act, identity, _ = orbit(widths=(6, 5))
    scales = {"linear": jnp.linspace(-1.5, 1.5, len(identity["linear"])), "shifts": identity["shifts"]}

    @jax.jit
    def find(position):
        return [teleport.balance(act, identity, start) for start in (position, act(position, scales))]

    once, again = find(position)
    for i, reader in ((0, "dense_1"), (1, "output")):
        incoming = jnp.sum(jnp.square(once[f"dense_{i}"]["kernel"]), 0) + jnp.square(once[f"dense_{i}"]["bias"])
        outgoing = jnp.sum(jnp.square(once[reader]["kernel"]), 1)
        assert np.allclose(incoming, outgoing, rtol=1e-2)
    assert trees.norm(once) < trees.norm(position)
    assert trees.norm(again) == pytest.approx(float(trees.norm(once)), rel=1e-4)
    data = rows()
    assert np.allclose(*(model.apply(at, frozen, data.inputs) for at in (once, position)), atol=1e-5)


class Attention(nn.Module):
    """Two heads without biases; its queries and keys meet in products alone, as do its values and its outputs."""

    @nn.compact
    def __call__(self, x):
        attention = nn.MultiHeadDotProductAttention(2, qkv_features=4, out_features=NUM_OUTPUTS, use_bias=False)
        return attention(x).mean(axis=1)


class Normed(nn.Module):
    """A LayerNorm, which undoes what shifts and scales before it."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(NUM_OUTPUTS)(nn.relu(nn.LayerNorm(epsilon=1e-12)(nn.Dense(4)(x))))


def in_double(module, shape):
    """Return an orbit of a network, and outputs of positions, in double precision."""
    model = from_flax(module, np.zeros((2, *shape), np.float32))
    group = find_group(model, {})
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), model.init(KEY, {}))
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(20, *shape)))
    act = teleport.action(group, model, {})
    return model, jax.tree.map(lambda leaf: leaf.astype(float), group.identity), start, act, inputs


@pytest.mark.parametrize(
    ("module", "shape", "dimension"),
    [(Normed(), (5,), 5 + 2 + 4), pytest.param(Attention(), (3, 4), 2 * 8, marks=pytest.mark.long)],
)
def test_exact_groups_keep_outputs_to_rounding_of_double_precision(module, shape, dimension):
    with jax.enable_x64(True):
        model, identity, start, act, inputs = in_double(module, shape)
        assert sum(leaf.size for leaf in jax.tree.leaves(identity)) == dimension
        moved, length = jax.jit(teleport.wander(act, identity, 0.5))(KEY, start, None)
        outputs = [np.asarray(model.apply(at, {}, inputs)) for at in (start, moved)]
        assert length == pytest.approx(0.5)
        assert trees.norm(jax.tree.map(jnp.subtract, moved, start)) > 0.1
        assert np.abs(outputs[1] - outputs[0]).max() < 1e-9


@pytest.mark.long
def test_balanced_attention_has_queries_and_keys_of_one_shape():
    """The shortest point of an orbit of GL(d_k) has ``W_q^T W_q = W_k^T W_k`` in each head, and so for values."""
    with jax.enable_x64(True):
        _, identity, start, act, _ = in_double(Attention(), (3, 4))
        lopsided, _ = jax.jit(teleport.wander(act, identity, 0.4))(KEY, start, None)
        found = jax.jit(lambda at: teleport.balance(act, identity, at, num_steps=100))(lopsided)
        kernels = {path.split("/")[-2]: leaf for path, leaf in trees.flatten(found).items() if "Attention" in path}
        squares = {name: jnp.einsum("ihd,ihe->hde", kernels[name], kernels[name]) for name in ("query", "key", "value")}
        squares["out"] = jnp.einsum("hdo,heo->hde", kernels["out"], kernels["out"])
        assert np.allclose(squares["query"], squares["key"], atol=1e-3)
        assert np.allclose(squares["value"], squares["out"], atol=1e-3)


# Training ---------------------------------------------------------------------------------------------------------


def test_an_optimizer_teleports_after_the_steps_that_it_is_told_and_goes_on():
    model, frozen, position, act, identity, loss = orbit()
    data, config = rows(), TeleportConfig(num_steps=4)

    def make(frozen):
        return make_teleport(act, identity, loss, teleport.steep(loss, 1e3), config)

    def run(optimizer, num_steps):
        trainer = make_train(model, cross_entropy, optimizer, 2, batch_size=16)
        state = trainer.init(KEY, frozen)._replace(position=position)
        return jax.jit(trainer.begin, static_argnums=4)(KEY, state, frozen, data, num_steps)

    plain = optax.sgd(0.1, momentum=0.9)
    jumping = teleport.teleporting(plain, make, (3, 5))
    before, after = run(plain, 3), run(jumping, 3)
    told = after.opt_state.told
    assert np.allclose(*(model.apply(at.position, frozen, data.inputs) for at in (before, after)), atol=1e-5)
    assert trees.norm(jax.tree.map(jnp.subtract, before.position, after.position)) > 0.01
    assert told["after"][0] < told["before"][0]
    assert told["length"][0] > 0 and told["length"][1] == 0
    assert np.allclose(told["loss_before"], told["loss_after"], atol=KEPT)
    later = run(jumping, 6)
    assert later.opt_state.told["length"][1] > 0
    assert later.opt_state.step == 6
    with pytest.raises(InputError, match="ascending"):
        teleport.teleporting(plain, make, (5, 3))


def test_every_network_teleports_by_an_element_of_its_own():
    model, frozen, position, act, identity, loss = orbit()
    wander = teleport.telling(teleport.wander(act, identity, 0.5), loss, teleport.short())
    optimizer = teleport.teleporting(optax.sgd(0.0), lambda frozen: wander, (1, 2))
    trainer = make_train(model, cross_entropy, optimizer, 1, batch_size=32)

    @jax.jit
    def run(key):
        state = trainer.init(KEY, frozen)._replace(position=position)
        return [trainer.begin(key, state, frozen, rows(), num_steps).position for num_steps in (1, 2)]

    (one, then), (other, _) = (run(jax.random.key(seed)) for seed in (1, 2))
    ratios = [at["output"]["kernel"] / position["output"]["kernel"] for at in (one, other)]
    assert np.abs(np.log(ratios[0] / ratios[1])).max() > 0.1
    second = then["output"]["kernel"] / one["output"]["kernel"]
    assert np.abs(np.log(second / ratios[0])).max() > 0.1


# The pseudo-inverse -----------------------------------------------------------------------------------------------


def test_the_pseudo_inverse_keeps_outputs_on_as_many_rows_as_units_and_nowhere_else():
    with jax.enable_x64(True):
        numbers = np.random.default_rng(0)
        model = model_of(widths=(16,), activation="leaky_relu", norm="none").build((20,), 10)
        params = {
            layer: {"kernel": numbers.normal(size=shape) / shape[0] ** 0.5, "bias": np.zeros(shape[1])}
            for layer, shape in {"dense_0": (20, 16), "output": (16, 10)}.items()
        }
        change = jnp.asarray(0.3 * numbers.normal(size=(16, 16)))
        inputs = jnp.asarray(numbers.normal(size=(400, 20)))

        @jax.jit
        def errors(params, inputs, others):
            found = teleport.pseudo_inverse_action(model, {}, params, "dense_0", "output", change, inputs)
            ends = (model.forward(at, {}, others) for at in (params, found.params))
            return found.error, teleport.relative_change(*ends)

        exact, elsewhere = errors(params, inputs[:16], inputs[200:])
        assert exact < 1e-13
        assert elsewhere > 0.1
        crowded, elsewhere = errors(params, inputs[:200], inputs[200:])
        assert 0.05 < crowded < 0.5
        assert 0.05 < elsewhere < 0.5
        with pytest.raises(InputError, match="choose from dense_0, output"):
            teleport.pseudo_inverse_action(model, {}, params, "dense_1", "output", change, inputs)
