"""Recurrent networks: the formula in NumPy, and what is a sequence."""

import jax
import numpy as np
import pytest
from model_of import drawn_constants, model_of

from asymjax import trees

WIDTHS, INPUT_SHAPE = (6, 5), (7, 4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(layer, activation, sequence, norm):
    """One layer of gated recurrent units [rows, steps, features] -> [rows, steps, units]."""

    def linear(gate, x, state):
        inputs = x @ layer[f"{gate}_input"]["kernel"] + layer[f"{gate}_input"]["bias"]
        return inputs + state @ layer[f"{gate}_recurrent"]["kernel"]

    state = np.zeros((len(sequence), len(layer["reset_recurrent"]["kernel"])))
    states = []
    for x in np.moveaxis(sequence, 1, 0):
        reset, update = sigmoid(linear("reset", x, state)), sigmoid(linear("update", x, state))
        candidate = linear("candidate", x, reset * state)
        if norm == "layer":
            centred = candidate - candidate.mean(1, keepdims=True)
            candidate = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)
            candidate = candidate * layer["norm"]["scale"] + layer["norm"]["bias"]
        state = update * state + (1 - update) * activation(candidate)
        states.append(state)
    return np.stack(states, axis=1)


def network(arch, norm, shape=INPUT_SHAPE):
    config = model_of(arch, "rnn", widths=WIDTHS, norm=norm, activation="tanh")
    model, generator = config.build(shape, 3), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 0.5 * generator.standard_normal(leaf.shape, "float32"), model.params_shape)
    return jax.jit(model.forward), params, drawn_constants(model)


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("arch", ["standard", "sigma_asym"])
def test_forward_is_a_gru_over_the_rows_of_an_image(arch, norm):
    forward, params, frozen = network(arch, norm)
    assert set(trees.flatten(frozen)) == ({"gru_0/act/gate", "gru_1/act/gate"} if arch == "sigma_asym" else set())
    inputs = np.random.default_rng(1).standard_normal((9, *INPUT_SHAPE), "float32")
    states = inputs.astype(np.float64)
    for name in ("gru_0", "gru_1"):
        gate = np.asarray(frozen[name]["act"]["gate"]) if frozen else None
        activation = np.tanh if gate is None else lambda x, gate=gate: x * sigmoid(x @ gate)
        states = gru(params[name], activation, states, norm)
    expected = states[:, -1] @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(forward(params, frozen, inputs), expected, rtol=1e-4, atol=1e-5)


def test_a_step_reads_all_channels_of_a_row():
    inputs = np.random.default_rng(1).standard_normal((9, 7, 2, 2), "float32")
    (images, params, _), (sequences, _, _) = network("standard", "none", (7, 2, 2)), network("standard", "none")
    found, expected = images(params, {}, inputs), sequences(params, {}, inputs.reshape(9, 7, 4))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_inputs_without_rows_are_refused():
    with pytest.raises(ValueError, match=r"takes images \[rows, height, width\(, channels\)\], not inputs \(1, 64\)"):
        model_of(backbone="rnn").build((64,), 3)
