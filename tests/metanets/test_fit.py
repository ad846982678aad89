"""Metanetworks on zoos whose targets are known functions of the weights."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import linen as nn
from metanets.zoos import make_zoo, squared_norm

from asymjax import trees
from asymjax.errors import DivergedError, InputError
from asymjax.metanets import DMC, METANETS, FitConfig, FlatMLP, Probe, Recipe, StatNN, StatTrees, fit, score
from asymjax.metanets.deepsets import PooledNumbers
from asymjax.metanets.fit import Member, fit_by, make_task
from asymjax.metanets.regression import Regression
from asymjax.metanets.statistics import statistics
from asymjax.metanets.zoo import split
from asymjax.symmetry import permute

CONFIG = FitConfig(num_epochs=30, batch_size=32, learning_rates=(0.003, 0.01), num_trials=1, num_seeds=2)
ZOO = make_zoo(400, squared_norm)


def scores_on_test(fitted):
    part = fitted.parts.test
    return [score(fitted.targets[part], predictions[part]) for predictions in fitted.predictions]


scores_on_test.__test__ = False


def task_of(settings, zoo=ZOO):
    parts = split(zoo.ids)
    return make_task(zoo, settings, zoo.target("test.accuracy"), parts, CONFIG)


def features_of(task, part):
    return task.features.take(task.features.held, part.inputs)


def permuted(zoo, seed=0):
    name = next(axis for axis in zoo.model.permutation_spec["dense_0/kernel"] if axis)
    return permute_all(zoo, {name: np.random.default_rng(seed).permutation(4)})


def permute_all(zoo, element):
    spec = zoo.model.permutation_spec
    return zoo._replace(position=jax.vmap(lambda position: permute(position, spec, element))(zoo.position))


def test_statistics_of_a_constant_tensor_and_of_one_entry():
    found = statistics({"a": np.full((2, 3, 4), 1.5, np.float32), "b": np.full((2, 1), -2, np.float32)})
    np.testing.assert_allclose(found, [[1.5, 0, 1.5, 1.5, 1.5, 1.5, 1.5, -2, 0, -2, -2, -2, -2, -2]] * 2)


def test_statistics_are_blind_to_a_shuffle_within_a_tensor():
    order = np.random.default_rng(0).permutation(12)
    kernel = np.random.default_rng(1).normal(size=(5, 3, 4)).astype(np.float32)
    shuffled = kernel.reshape(5, -1)[:, order].reshape(kernel.shape)
    np.testing.assert_allclose(statistics([kernel]), statistics([shuffled]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", [StatNN(widths=(32,)), StatTrees()], ids=["statnn", "stat_trees"])
def test_statistics_know_the_norm_of_a_tensor(settings):
    assert min(found.r2 for found in scores_on_test(fit(ZOO, settings, config=CONFIG))) > 0.8


def test_the_recipe_does_not_know_it():
    assert scores_on_test(fit(ZOO, Recipe()))[0].r2 < 0.2


def test_one_metanetwork_is_the_same_whatever_others_are_beside_it():
    two = fit(ZOO, FlatMLP(), config=CONFIG)
    one = fit(ZOO, FlatMLP(), config=replace(CONFIG, num_seeds=1))
    np.testing.assert_array_equal(one.predictions[0], two.predictions[0])
    assert np.any(two.predictions[0] != two.predictions[1])
    assert one.trials.keys() == {0.003, 0.01} and one.learning_rate in one.trials


def test_the_epoch_is_the_best_on_the_validation_networks():
    fitted = fit(ZOO, FlatMLP(), config=replace(CONFIG, num_epochs=8))
    part = fitted.parts.validation
    longer = fit(ZOO, FlatMLP(), config=replace(CONFIG, num_epochs=12, learning_rates=(fitted.learning_rate,)))
    for seed in range(2):
        first, second = (score(one.targets[part], one.predictions[seed][part]).r2 for one in (fitted, longer))
        assert second >= first - 1e-6


@pytest.mark.parametrize("settings", [Probe(num_probes=8, width=8, widths=(16,)), StatNN(widths=(16,))], ids=str)
def test_invariant_metanetworks_do_not_see_an_order_of_units(settings):
    found = [outputs(settings, zoo) for zoo in (ZOO, permuted(ZOO))]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_a_flat_perceptron_sees_it():
    first, second = (outputs(FlatMLP(), zoo) for zoo in (ZOO, permuted(ZOO)))
    assert np.max(np.abs(first - second)) > 1e-2


def test_probes_do_not_see_a_rescaling_of_relu_units():
    scales = np.exp(np.random.default_rng(0).uniform(-3, 3, 4)).astype(np.float32)
    leaves = trees.flatten(ZOO.position)
    leaves["dense_0/kernel"] = leaves["dense_0/kernel"] * scales
    leaves["dense_0/bias"] = leaves["dense_0/bias"] * scales
    leaves["output/kernel"] = leaves["output/kernel"] / scales[:, None]
    rescaled = ZOO._replace(position=trees.unflatten(leaves))
    settings = Probe(num_probes=8, width=8, widths=(16,))
    np.testing.assert_allclose(*(outputs(settings, zoo) for zoo in (ZOO, rescaled)), rtol=1e-4, atol=1e-4)
    assert np.max(np.abs(outputs(StatNN(widths=(16,)), ZOO) - outputs(StatNN(widths=(16,)), rescaled))) > 1e-2


def outputs(settings, zoo):
    task = task_of(settings, zoo)
    return np.asarray(
        jax.jit(lambda x: task.metanet.apply(task.metanet.init(jax.random.key(0)), x))(features_of(task, task.train))
    )


def test_units_of_deepsets_one_after_the_other_are_a_layer_with_layernorm():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, numbers):
            return nn.relu(nn.LayerNorm()(nn.Dense(8)(numbers[..., None]))).mean(1)

    numbers = jax.random.normal(jax.random.key(0), (3, 50))
    params = {name: jax.random.normal(jax.random.key(i), (8,)) for i, name in enumerate(("bias", "shift", "scale"))}
    kernel = jax.random.normal(jax.random.key(3), (1, 8))
    same = {
        "Dense_0": {"kernel": kernel, "bias": params["bias"]},
        "LayerNorm_0": {"scale": params["scale"], "bias": params["shift"]},
    }
    found = PooledNumbers(8).apply({"params": params | {"kernel": kernel}}, numbers)
    np.testing.assert_allclose(found, Layer().apply({"params": same}, numbers), rtol=1e-5, atol=1e-6)


def test_batches_matter_to_dmc_while_it_is_trained_alone():
    task = task_of(DMC())

    @jax.jit
    def all_of(features):
        params = task.metanet.init(jax.random.key(0))
        settled = task.metanet.settle(params, features)
        few, one = (jax.tree.map(lambda leaf, n=n: leaf[:n], features) for n in (8, 1))
        after = task.metanet.evaluate(settled, few)[0], task.metanet.evaluate(settled, one)[0]
        return after, (task.metanet.apply(params, few)[0], task.metanet.apply(params, features)[0])

    (together, alone), (of_few, of_many) = all_of(features_of(task, task.train))
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    assert abs(float(of_few - of_many)) > 1e-3


def test_units_are_shuffled_in_weights_alone():
    with pytest.raises(InputError, match="give reads=params"):
        fit(ZOO, FlatMLP(is_permuted=True), config=CONFIG)


def test_learning_rates_that_diverge_are_named():
    with pytest.raises(DivergedError, match=r"no learning rate out of 1000000000000\.0 trains"):
        fit(ZOO, FlatMLP(), config=replace(CONFIG, num_epochs=2, learning_rates=(1e12,)))


def test_reported_metanetworks_that_diverge_are_not_scored():
    task, parts = task_of(FlatMLP()), split(ZOO.ids)

    def measure(stage, keys, rates):
        outputs = np.zeros((len(keys), ZOO.num_networks))
        r2 = np.where((stage == "seeds") & (np.arange(len(keys)) == 1), -np.inf, 0.5)
        return Member(outputs, r2, np.ones(len(keys), int))

    with pytest.raises(DivergedError, match=r"1 of 2 metanetworks diverged at the learning rate 0\.003"):
        fit_by(measure, task, ZOO.target("test.accuracy"), parts, jax.random.key(0), CONFIG)


def test_batches_that_cannot_be_filled_are_refused():
    with pytest.raises(InputError, match="batch_size is 512, but 200 networks are for training"):
        fit(ZOO, FlatMLP(), config=replace(CONFIG, batch_size=512))


@pytest.mark.parametrize("name", [name for name, kind in METANETS.items() if not issubclass(kind, Regression)])
@pytest.mark.parametrize("arch", ["standard", "w_asym"])
def test_every_metanetwork_reads_every_zoo(name, arch):
    zoo = make_zoo(60, lambda leaves: np.arange(60.0), arch, **({"num_fixed": 2} if arch == "w_asym" else {}))
    task = task_of(METANETS[name](), zoo)

    @jax.jit
    def evaluated(train, features):
        params = task.metanet.init(jax.random.key(0))
        return task.metanet.evaluate(task.metanet.settle(params, train), features)

    found = evaluated(features_of(task, task.train), features_of(task, task.validation))
    assert found.shape == (15,) and np.all(np.isfinite(found))
