"""Metanetworks of equivariant layers: what leaves their predictions alone, what does not, what they learn and cost."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from model_of import drawn_constants, model_of

from asymjax import trees
from asymjax.metanets import METANETS, Read
from asymjax.metanets.equivariant import HNP, INPUTS, NP, OUTPUTS, invariant
from asymjax.metanets.linear import to_features, unit_counts
from asymjax.symmetry import permute, random_permutations
from asymjax.symmetry.groups import position_spec
from asymjax.types import Fixed, Perm

INVARIANT = 1e-5  # Of predictions, relative to the larger of them and one.
CHANGED = 1e-2
NETWORKS = {
    "mlp": ("mlp", {"widths": (5, 4)}, (6,)),
    "cnn": ("cnn", {"widths": (4, 5)}, (8, 8, 3)),
    "rnn": ("rnn", {"widths": (5,)}, (6, 4)),
    "resnet": ("resnet", {"depth": 8, "width_multiplier": 0.25}, (8, 8, 3)),
}


@cache
def read_of(network, arch="standard"):
    backbone, settings, input_shape = NETWORKS[network]
    model = model_of(arch, backbone, **settings).build(input_shape, 3)
    frozen = drawn_constants(model)
    return Read(model.params_shape, model.params_shape, position_spec(model, frozen), model, frozen)


def drawn(shapes, count=16, seed=0):
    numbers = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: numbers.standard_normal((count, *leaf.shape), "float32"), shapes)


def moved(networks, shapes, spec, names=None, seed=0):
    """Permute each network by an element of its own; some of the names alone if these are given."""

    def move(network, key):
        element = random_permutations(key, shapes, spec)
        return permute(network, spec, {name: element[name] for name in element if names is None or name in names})

    count = len(jax.tree.leaves(networks)[0])
    return jax.jit(jax.vmap(move))(networks, jax.random.split(jax.random.key(seed), count))


def change(predictions, others):
    return np.max(np.abs(predictions - others) / np.maximum(1, np.abs(predictions)))


def trained(metanet, networks, targets, num_steps, learning_rate=1e-2, batch_size=64):
    """Take steps of Adam on the squared error."""
    networks, targets = jax.tree.map(jnp.asarray, (networks, targets))
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def loss(params, rows):
        predicted = metanet.apply(params, jax.tree.map(lambda leaf: leaf[rows], networks))
        return jnp.mean(jnp.square(predicted - targets[rows]))

    def step(carry, key):
        params, state = carry
        rows = jax.random.randint(key, (batch_size,), 0, len(targets))
        updates, state = optimizer.update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    params = metanet.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), num_steps)
    return jax.jit(lambda start: jax.lax.scan(step, start, keys)[0][0])((params, optimizer.init(params)))


@pytest.mark.parametrize("name", ["hnp", "np"])
@pytest.mark.parametrize("network", NETWORKS)
def test_predictions_are_invariant(network, name):
    read, settings = read_of(network), METANETS[name](channels=8)
    metanet, networks = settings.make(read), drawn(read.shapes)
    params, apply = metanet.init(jax.random.key(0)), jax.jit(metanet.apply)
    before = apply(params, networks)
    assert before.shape == (16,)
    assert 0.01 < np.std(before) < 3 and np.abs(before).max() < 5  # Of order one at the start.
    assert change(before, apply(params, moved(networks, read.shapes, settings.spec_of(read)))) < INVARIANT
    first, *others = trees.flatten(networks).items()
    assert change(before, apply(params, trees.unflatten(dict(others) | {first[0]: first[1][::-1]}))) > CHANGED


def test_only_np_is_invariant_to_the_order_of_inputs_and_outputs():
    read = read_of("mlp")
    networks, spec = drawn(read.shapes), NP().spec_of(read)
    assert unit_counts(spec) == {"units_0": 5, INPUTS: 6, "units_1": 4, OUTPUTS: 3}
    for settings in (HNP(channels=8), NP(channels=8)):
        metanet = settings.make(read)
        params, apply = metanet.init(jax.random.key(0)), jax.jit(metanet.apply)
        for end in (INPUTS, OUTPUTS):
            departure = change(apply(params, networks), apply(params, moved(networks, read.shapes, spec, {end})))
            assert departure < INVARIANT if isinstance(settings, NP) else departure > CHANGED


def test_predictions_are_invariant_after_training_and_depend_on_the_order_of_layers():
    model = model_of(backbone="mlp", widths=(4, 4), norm="none").build((4,), 4)
    read = Read(model.params_shape, model.params_shape, position_spec(model, {}), model, {})
    networks, targets = drawn(read.shapes, 128), np.random.default_rng(1).standard_normal(128, "float32")
    for settings in (HNP(channels=8), NP(channels=8)):
        metanet = settings.make(read)
        params, apply = trained(metanet, networks, targets, 100), jax.jit(metanet.apply)
        before = apply(params, networks)
        assert np.mean((before - targets) ** 2) < 0.9 * np.var(targets)
        assert change(before, apply(params, moved(networks, read.shapes, settings.spec_of(read)))) < INVARIANT
        swapped = networks | {"dense_0": networks["dense_1"], "dense_1": networks["dense_0"]}
        assert change(before, apply(params, swapped)) > CHANGED


@pytest.mark.parametrize("width", [4, 64])
def test_predictions_start_at_order_one_at_every_width(width):
    model = model_of(backbone="mlp", widths=(width, width), norm="none").build((8,), 3)
    read = Read(model.params_shape, model.params_shape, position_spec(model, {}), model, {})
    metanet, networks = HNP().make(read), drawn(read.shapes, 4)
    outputs = jax.jit(jax.vmap(lambda key: metanet.apply(metanet.init(key), networks)))
    assert 0.2 < np.sqrt(np.mean(np.square(outputs(jax.random.split(jax.random.key(0), 16))))) < 2


def test_networks_without_permutations_are_read_flat_and_it_says_so():
    read = read_of("mlp", "w_asym")
    assert read.spec == {}
    num_entries = trees.num_entries(read.shapes)
    for settings in (HNP(), NP()):
        metanet = settings.make(read)
        params = metanet.init(jax.random.key(0))
        assert trees.num_entries(params) == 64 * num_entries + 2 * 64 + 1 < num_entries**2
        assert metanet.apply(params, drawn(read.shapes)).shape == (16,)
        assert f"{num_entries} x {num_entries} weights; a perceptron of 64 units" in settings.note(read)
    assert HNP().note(read_of("mlp")) == "Predictions are the same for all orders of 5 units_0, 4 units_1."


def test_all_orders_of_units_are_the_same_where_that_is_asked_for_though_masks_tell_them_apart():
    read, settings, networks = read_of("mlp", "w_asym"), HNP(channels=8, group="units"), drawn(read_of("mlp").shapes)
    metanet, spec = settings.make(read), settings.spec_of(settings.grouped(read))
    params = metanet.init(jax.random.key(0))
    before = metanet.apply(params, networks)
    assert change(before, metanet.apply(params, moved(networks, read.shapes, spec))) < INVARIANT
    assert settings.note(read) == HNP().note(read_of("mlp"))


def test_the_trace_of_a_product_of_kernels_is_learnt_from_pairs_of_weights():
    """Linear in the mean over units of <incoming, outgoing>: what no statistic of each leaf by itself has.

    To a metanetwork that also permutes both inputs and both outputs half of the variance of the trace is out of reach:
    the mean over these permutations has the other half.
    """
    model = model_of(backbone="mlp", widths=(4,), norm="none").build((2,), 2)
    read = Read(model.params_shape, model.params_shape, position_spec(model, {}), model, {})
    networks = drawn(read.shapes, 3000)
    targets = np.einsum("nij,nji->n", networks["dense_0"]["kernel"], networks["output"]["kernel"]) / np.sqrt(8)

    def score(settings):
        metanet = settings.make(read)
        params = trained(metanet, jax.tree.map(lambda leaf: leaf[:2000], networks), targets[:2000], 300)
        return r2(targets[2000:], jax.jit(metanet.apply)(params, jax.tree.map(lambda leaf: leaf[2000:], networks)))

    assert score(HNP()) > 0.85
    assert 0.35 < score(NP()) < 0.55
    statistics = np.concatenate([statistics_of(leaf) for leaf in jax.tree.leaves(networks)], axis=1)
    features = np.concatenate([np.ones((3000, 1)), statistics, statistics**2], axis=1)
    weights = np.linalg.lstsq(features[:2000], targets[:2000])[0]
    assert r2(targets[2000:], features[2000:] @ weights) < 0.1


def statistics_of(leaf):
    rows = leaf.reshape(len(leaf), -1)
    quantiles = np.quantile(rows, [0, 0.25, 0.5, 0.75, 1], axis=1).T
    return np.concatenate([rows.mean(1)[:, None], rows.var(1)[:, None], quantiles], axis=1)


def r2(targets, predicted):
    return 1 - np.mean((targets - predicted) ** 2) / np.var(targets)


# Cost ------------------------------------------------------------------------------------------------------------


def num_equations(jaxpr):
    inner = [value for equation in jaxpr.eqns for value in equation.params.values()]
    closed = [getattr(value, "jaxpr", value) for value in inner]
    return len(jaxpr.eqns) + sum(num_equations(one) for one in closed if hasattr(one, "eqns"))


def chain(num_layers):
    units = [Perm(f"units_{layer}", 3) for layer in range(num_layers)]
    axes = [Fixed(2), *units, Fixed(2)]
    kernels = {f"kernel_{i}": (axes[i], axes[i + 1]) for i in range(len(axes) - 1)}
    return kernels | {f"bias_{i}": (axes[i + 1],) for i in range(len(axes) - 1)}


def stream(num_layers):
    """A residual stream, into which every block writes and which every block reads."""
    shared, inner = Perm("stream", 4), [Perm(f"block_{i}", 3) for i in range(num_layers)]
    blocks = {f"read_{i}": (shared, units) for i, units in enumerate(inner)}
    blocks |= {f"write_{i}": (units, shared) for i, units in enumerate(inner)}
    return blocks | {f"bias_{i}": (shared,) for i in range(num_layers)}


@pytest.mark.parametrize("spec_of", [chain, stream])
def test_the_program_grows_linearly_with_the_number_of_leaves(spec_of):
    lengths = []
    for num_layers in (4, 8, 16):
        spec = spec_of(num_layers)
        shapes = {path: jax.ShapeDtypeStruct(tuple(a.size for a in axes), "float32") for path, axes in spec.items()}
        metanet = invariant(shapes, unit_counts(spec), lambda leaves, spec=spec: to_features(leaves, spec), HNP())
        params = jax.eval_shape(metanet.init, jax.random.key(0))
        networks = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), shapes)
        lengths.append(num_equations(jax.make_jaxpr(metanet.apply)(params, networks).jaxpr))
    assert lengths[2] - lengths[1] == pytest.approx(2 * (lengths[1] - lengths[0]), rel=0.02)
