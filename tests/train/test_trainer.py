"""Training of one network, in its position and in effective weights."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from model_of import model_of

from asymjax import data, rng, trees
from asymjax.errors import DivergedError, InputError
from asymjax.lab import devices
from asymjax.lab.recorder import InMemory
from asymjax.lab.sweep import run_sweep
from asymjax.models import draw_frozen
from asymjax.train import losses, make_optimizer, make_train
from asymjax.train.optimizers import ELEMENTWISE, OPTIMIZERS, OptimizerConfig, make_schedule
from asymjax.types import Split

NUM_STEPS = 200
CLIP_NORM = 0.05
KEY = rng.role_key(0, "train")


@pytest.fixture(scope="module")
def rows():
    train = data.load("digits").train
    return Split(train.inputs[:64], train.targets[:64])


@pytest.fixture(scope="module")
def network(rows):
    model = model_of("w_asym", widths=(8,), num_fixed=(4,)).build(rows.inputs.shape[1:], 10)
    return model, draw_frozen(model, 0)


@pytest.fixture(scope="module")
def fit(network, rows):
    """Return a function that trains, in effective weights or not, once each."""

    @cache
    def fit(clip_norm, in_effective_weights, leaves_effective_weights=False):
        model, frozen = network
        model = model._replace(split=lambda params, frozen: params) if leaves_effective_weights else model
        optimizer = make_optimizer(adamw(clip_norm=clip_norm), NUM_STEPS)
        trainer = make_train(model, losses.cross_entropy, optimizer, NUM_STEPS // 4, 16, in_effective_weights)
        return trees.to_host(jax.jit(trainer.train)(KEY, frozen, rows)[0])

    return fit


def relative_difference(left, right):
    left, right = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (left, right))
    return np.linalg.norm(left - right) / np.linalg.norm(left)


def adamw(**settings):
    return OptimizerConfig(weight_decay=0.05, learning_rate=3e-3, **settings)


def test_effective_weights_train_as_position_does(fit):
    states = [fit(CLIP_NORM, effective) for effective in (False, True)]
    shapes = [jax.tree.map(np.shape, state) for state in states]
    assert shapes[0] == shapes[1]
    assert states[1].step == NUM_STEPS
    for left, right in zip(*((state.position, state.opt_state) for state in states), strict=True):
        assert relative_difference(left, right) < 1e-5


def test_fixed_entries_stay_equal_to_the_bit_and_the_clipped_norm_acts(fit, network):
    model, frozen = network
    params = fit(None, True, leaves_effective_weights=True).position
    start = jax.jit(lambda: model.merge(model.init(rng.named_key(KEY, "init"), frozen), frozen))()
    start, is_free = (trees.flatten(trees.to_host(tree)) for tree in (start, model.free_mask(frozen)))
    for path, leaf in trees.flatten(params).items():
        before, free = start[path], is_free[path]
        np.testing.assert_array_equal(leaf[~free], before[~free])
        assert np.mean(leaf[free] != before[free]) > 0.8
    assert sum(np.sum(~free) for free in is_free.values()) == 4 * 8 + 4 * 10
    clipped = jax.jit(model.merge)(fit(CLIP_NORM, True).position, frozen)
    assert relative_difference(params, clipped) > 1e-3


def test_elementwise_optimizers_treat_entries_as_if_there_were_no_others():
    start, gradient = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    free = np.array([0, 2, 5])

    @jax.jit
    def moved(start, gradient):
        def by(name):
            optimizer = make_optimizer(OptimizerConfig(name), 10)
            return optimizer.update(gradient, optimizer.init(start), start)[0]

        return {name: by(name) for name in OPTIMIZERS}

    whole, alone = moved(start, gradient), moved(start[free], gradient[free])
    same = {name for name in OPTIMIZERS if np.allclose(whole[name][free], alone[name], rtol=1e-5)}
    assert same == ELEMENTWISE == set(OPTIMIZERS) - {"lamb"}


def test_models_without_coordinates_in_the_weights_train_in_position(rows):
    model = model_of("syre", widths=(4,)).build(rows.inputs.shape[1:], 10)

    def program(effective):
        trainer = make_train(model, losses.cross_entropy, make_optimizer(adamw(), 1), 1, 16, effective)
        return str(jax.make_jaxpr(trainer.train)(KEY, draw_frozen(model, 0), rows))

    assert program(True) == program(False)


# Loss log(a) and plain gradient descent: a falls below zero, where the loss is not a number, at a known step.


def sweep(starts, max_size=None, **settings):
    """Train one ``a`` a start; the key's last word says which."""

    def loss(apply, position, frozen, batch):
        return jnp.log(position["a"])

    model = model_of(widths=()).build((1,), 1)._replace(init=lambda key, frozen: {"a": jnp.array(0.0)})
    trainer = make_train(model, loss, optax.sgd(0.3), 6, None)

    def init(key, frozen):
        position = {"a": jnp.asarray(starts)[jax.random.key_data(key)[-1]]}
        return trainer.init(key, frozen)._replace(position=position)

    keys = jax.random.wrap_key_data(jnp.stack([jnp.zeros(len(starts)), jnp.arange(len(starts))], 1).astype("uint32"))
    rows, placement = (
        Split(np.zeros((2, 1), "float32"), np.zeros(2, "float32")),
        devices.place(len(starts), 1, max_size=max_size),
    )
    return run_sweep(InMemory(), trainer._replace(init=init), keys, keys, {}, rows, placement, 6, 2, **settings)


def test_first_step_that_is_not_finite_is_recorded(capsys):
    state = sweep([1.0, 100.0, 0.1], may_fail=True)
    # 1, 0.7, 0.27, then -0.84; and 0.1, then -2.9.
    np.testing.assert_array_equal(state.failed_step, [3, -1, 1])
    assert state.position["a"][1] > 99
    assert "network 0 at step 3, network 2 at step 1" in capsys.readouterr().err


@pytest.mark.parametrize(("starts", "may_fail"), [([1.0, 100.0], False), ([1.0, 1.0], True)])
def test_a_sweep_ends_when_it_may_not_fail_or_nothing_is_left(starts, may_fail):
    with pytest.raises(DivergedError, match=r"network 0 at step 3.*lower the learning rate"):
        sweep(starts, may_fail=may_fail)


def test_a_round_that_fails_whole_ends_no_sweep_that_has_others(capsys):
    state = sweep([1.0, 1.0, 100.0, 100.0], max_size=2, may_fail=True)
    np.testing.assert_array_equal(state.failed_step, [-1, -1])
    assert "network 0 at step 3, network 1 at step 3" in capsys.readouterr().err


def test_a_network_that_fills_the_last_round_up_is_reported_once(capsys):
    sweep([1.0, 100.0, 100.0], max_size=2, may_fail=True)
    assert capsys.readouterr().err.count("network 0 at step 3") == 1


def rates(**settings):
    schedule = make_schedule(OptimizerConfig(learning_rate=0.8, **settings), 20)
    return [float(schedule(step)) for step in (0, 2, 4, 12, 20)]


def test_schedules_have_their_values():
    assert rates() == pytest.approx([0.8] * 5)
    assert rates(warmup_steps=4) == pytest.approx([0, 0.4, 0.8, 0.8, 0.8])
    assert rates(warmup_steps=4, schedule="cosine") == pytest.approx([0, 0.4, 0.8, 0.4, 0])
    assert rates(warmup_steps=4, schedule="linear") == pytest.approx([0, 0.4, 0.8, 0.4, 0])
    assert rates(schedule="linear") == pytest.approx([0.8, 0.72, 0.64, 0.32, 0])


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_decay_of_an_optimizer_without_it_is_refused(name):
    with pytest.raises(InputError, match=rf"{name} has no weight decay \(weight_decay = 0.1\); use adamw"):
        make_optimizer(OptimizerConfig(name, weight_decay=0.1), 10)


def test_every_epoch_has_an_order_of_its_own_whatever_the_chunks(rows):
    model, frozen = model_of(widths=()).build(rows.inputs.shape[1:], 10), {}
    trainer = make_train(model, losses.cross_entropy, make_optimizer(OptimizerConfig(), 16), 4, 16)
    whole, values = jax.jit(trainer.train)(KEY, frozen, rows)
    state = jax.jit(trainer.init)(KEY, frozen)
    advance = jax.jit(trainer.advance, static_argnums=4)
    for _ in range(2):
        state, _ = advance(KEY, state, frozen, rows, 2)
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    assert len(set(np.asarray(values).tolist())) == 4
