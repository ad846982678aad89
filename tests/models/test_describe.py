"""What a model consists of, and that the symmetries it is said to have are those it has."""

import json
import math
import subprocess
import sys
from functools import cache
from io import StringIO
from pathlib import Path

import jax
import numpy as np
import pytest
from model_of import drawn_constants, model_of
from random_graphs import random_graph
from rich.console import Console

from asymjax import rng, trees
from asymjax.experiments.describe_model.table import as_tables
from asymjax.models import draw_frozen
from asymjax.models.describe import cut_off, describe
from asymjax.models.methods import METHODS
from asymjax.models.presets import MODEL_PRESETS
from asymjax.models.structure import Structure, structure_of, unbroken
from asymjax.models.symmetries import CONTINUOUS, FAMILIES, count_symmetries
from asymjax.symmetry import automorphisms

SCRIPT = Path(__file__).parents[2] / "runs" / "describe_model.py"


@pytest.mark.parametrize(
    ("preset", "standard", "w_asym"),
    [
        ("paper_mlp_mnist", 935_434, 834_570),
        ("paper_bnn_mlp8", 668_170, 651_706),
        ("paper_bnn_mlp16", 1_198_602, 1_165_754),
    ],
)
def test_parameter_counts_of_the_papers_networks(preset, standard, w_asym):
    for arch, expected in (("standard", standard), ("sigma_asym", standard), ("w_asym", w_asym), ("pruned", w_asym)):
        model = MODEL_PRESETS[preset].of(arch).build((784,), 10)
        position = jax.eval_shape(lambda key, model=model: model.init(key, model.freeze(key)), jax.random.key(0))
        assert trees.num_entries(position) == expected


@pytest.fixture(scope="module")
def bayesian_network():
    return describe(MODEL_PRESETS["paper_bnn_mlp8"].of("w_asym"), (784,), 10)


def test_description_counts_parameters_and_names_what_is_fixed(bayesian_network):
    assert (bayesian_network["num_trainable"], bayesian_network["num_fixed"]) == (651_706, 16_464)
    assert [layer["path"] for layer in bayesian_network["layers"][:3]] == [
        "dense_0/kernel",
        "dense_0/bias",
        "norm_0/scale",
    ]
    assert sum(layer["num_trainable"] for layer in bayesian_network["layers"]) == 651_706
    assert sum(layer["num_fixed"] for layer in bayesian_network["layers"]) == 16_464
    assert json.loads(json.dumps(bayesian_network)) == bayesian_network
    console = Console(file=StringIO(), width=150)
    console.print(as_tables(bayesian_network))
    for words in ("651,706", "16,464", "256 x 256", *FAMILIES, bayesian_network["note"], bayesian_network["checksum"]):
        assert words in console.file.getvalue()
    assert bayesian_network["cut_off"] == {} and bayesian_network["not_counted"] == []


def test_description_names_units_without_weights(bayesian_network):
    spec = {"dense_0/kernel": (None, "units_0"), "output/kernel": ("units_0", None)}
    incoming, outgoing = np.array([[0, np.nan, 0.5], [0, 0, 0]]), np.array([[np.nan], [0], [0]])
    counts = cut_off(Structure("relu", spec, {}, {"dense_0/kernel": incoming, "output/kernel": outgoing}, {}, {}))
    assert counts == {
        "inputs": {"num_units": 2, "no_outgoing": 1},
        "units_0": {"num_units": 3, "no_incoming": 1, "no_outgoing": 2},
    }
    console = Console(file=StringIO(), width=150)
    console.print(as_tables(bayesian_network | {"cut_off": counts, "not_counted": ["what is left out"]}))
    for words in ("units_0: 2 of 3 have no outgoing weight", "inputs: 1 of 2 have no", "not counted: what is left out"):
        assert words in console.file.getvalue()


def test_rescalings_that_survive_are_the_columns_that_the_masks_leave_free(bayesian_network):
    model = MODEL_PRESETS["paper_bnn_mlp8"].of("w_asym").build((784,), 10)
    of_outputs = jax.jit(lambda key: model.freeze(key)["output"]["kernel"]["fixed_value"])
    free_columns = int(np.sum(~np.any(of_outputs(rng.role_key(0, "mask")), axis=1)))
    rescalings = bayesian_network["symmetries"]["unit_rescalings"]
    assert rescalings["standard"] == 8 * 256
    assert rescalings["remaining_by_place"]["units_7"] == free_columns
    # A column escapes with probability (1 - 8/256)^10 = 0.73; the bound is 4 standard deviations of 256 columns.
    assert abs(free_columns / 256 - (1 - 8 / 256) ** 10) < 4 * math.sqrt(0.73 * 0.27 / 256)
    permutations = bayesian_network["symmetries"]["permutations"]
    assert permutations["standard"] == permutations["removed"] == pytest.approx(8 * math.lgamma(257))
    assert bayesian_network["symmetries"]["bias_shifts"]["remaining"] == 8


SIZES = {"widths": (6, 5), "depth": 8, "width_multiplier": 1 / 16}


def test_description_has_the_checksum_of_the_constants_of_its_mask_seed():
    config = model_of("fixed_bias", **SIZES, mask_seed=3)
    expected = trees.checksum(trees.to_host(draw_frozen(config.build((4,), 3), 3)))
    assert describe(config, (4,), 3)["checksum"] == expected


SEED = 509  # Of masks that leave something of every family, in one case or the other.


def network(arch, backbone, num_fixed, input_shape, activation, norm):
    """A small network and constants of it."""
    config = model_of(arch, backbone, **SIZES, norm=norm, activation=activation, num_fixed=num_fixed)
    model = config.build(input_shape, 3)
    return model, drawn_constants(model, SEED, float(arch != "pruned"))


@pytest.mark.parametrize(
    ("arch", "activation", "removed"),
    [
        ("standard", "relu", set()),
        ("syre", "relu", set()),
        ("pruned", "relu", {"permutations", "row_shifts"}),
        ("w_asym", "relu", {"permutations", "unit_rescalings", "layer_rescalings", "layer_sign_flips", "row_shifts"}),
        ("w_asym", "tanh", {"permutations", "unit_sign_flips", "layer_rescalings", "layer_sign_flips", "row_shifts"}),
        ("sigma_asym", "relu", {"permutations", "unit_rescalings"}),
        ("sigma_asym", "tanh", {"permutations", "unit_sign_flips"}),
        ("fixed_bias", "relu", {"permutations", "layer_rescalings", "layer_sign_flips", "bias_shifts"}),
    ],
)
def test_methods_remove_what_they_are_said_to(arch, activation, removed):
    structure = structure_of(*network(arch, "mlp", (2, 2, 2), (4,), activation, "layer"), activation)
    before, after = count_symmetries(unbroken(structure)), count_symmetries(structure)
    assert {family for family in FAMILIES if sum(after[family].values()) < sum(before[family].values())} == removed
    assert (METHODS[arch].note == METHODS["standard"].note) == (arch == "standard")


@cache
def jacobian_of(is_gated, backbone, input_shape, activation, norm):
    """The function (params, gates, inputs) -> derivatives of all outputs, leaves [row x output, *shape], compiled.

    Of a method without gates it is that of standard networks, of which it fixes some entries.
    """
    arch = "sigma_asym" if is_gated else "standard"
    config = model_of(arch, backbone, **SIZES, norm=norm, activation=activation)
    forward = config.build(input_shape, 3).forward

    def of_rows(params, gates, inputs):
        return jax.jacrev(forward)(params, gates, inputs)

    def row_by_row(params, gates, inputs):
        return jax.vmap(lambda row: of_rows(params, gates, row[None]))(inputs)

    return jax.jit(of_rows if backbone == "gcn" else row_by_row)


def num_flat_directions(structure, shapes, backbone, input_shape, least):
    """Return how many directions of what is free leave the outputs on many inputs as they are.

    Counted at random points, until there are no more than ``least``, since units may be dead at one.
    """
    generator = np.random.default_rng(0)
    has_norm = any(path.endswith("/scale") for path in shapes)
    fixed = {path: np.full(shape, np.nan) for path, shape in shapes.items()} | structure.fixed | structure.biases
    jacobian_at = jacobian_of(bool(structure.gates), backbone, input_shape, structure.activation, structure.norm)

    def draw(path, shape):
        # Large inputs of norms, so that their epsilon is as nothing, and small shifts after them, so that units live;
        # small inputs of sigmoids, which saturate, and of recurrent units without a norm, which explode.
        layer, leaf = path.split("/")[-2:]
        size = 1 if layer.startswith(("reset", "update") if has_norm else ("reset", "update", "candidate")) else 30
        scale = {"kernel": size, "scale": 1, "bias": 0.1 if layer.startswith("norm") else size / 3}[leaf]
        drawn = scale * generator.standard_normal(shape)
        return np.where(np.isnan(fixed[path]), drawn, fixed[path])

    with jax.enable_x64(True):
        inputs = (
            random_graph(100, *input_shape) if backbone == "gcn" else generator.standard_normal((150, *input_shape))
        )
        gates = trees.unflatten({f"{site}/gate": np.float64(gate) for site, gate in structure.gates.items()})
        num_flat = np.inf
        for _ in range(10):
            params = trees.unflatten({path: draw(path, shape) for path, shape in shapes.items()})
            found = trees.flatten(jacobian_at(params, gates, inputs))
            blocks = [np.reshape(found[path], (-1, *shape))[:, np.isnan(fixed[path])] for path, shape in shapes.items()]
            jacobian = np.concatenate(blocks, axis=1)
            size = np.linalg.norm(jacobian, axis=0)
            # Singular values are above 1e-5 or, by the epsilon of norms, below 1e-7.
            # The gradient of a bias before a norm over nodes is rounding, and stays small.
            scaled = jacobian / np.where(size > 1e-9 * size.max(), size, 1)
            num_flat = min(num_flat, size.size - np.linalg.matrix_rank(scaled, 1e-6))
            if num_flat <= least:
                break
    return num_flat


@pytest.mark.parametrize(
    ("arch", "backbone", "num_fixed", "input_shape", "activation", "norm", "expected"),
    [
        ("standard", "mlp", (), (4,), "relu", "none", (11, 0, 0, 0)),
        ("standard", "mlp", (), (4,), "leaky_relu", "none", (11, 0, 0, 0)),
        ("standard", "mlp", (), (4,), "relu", "layer", (11, 2, 4 + 6, 2)),
        ("sigma_asym", "mlp", (), (4,), "relu", "layer", (0, 2, 4 + 6, 2)),
        ("pruned", "mlp", (2, 1, 2), (4,), "relu", "layer", (11, 2, 1, 2)),
        ("w_asym", "mlp", (2, 1, 2), (4,), "relu", "none", (0, 0, 0, 0)),
        ("fixed_bias", "mlp", (), (4,), "relu", "none", (0, 0, 0, 0)),
        ("fixed_bias", "mlp", (), (4,), "relu", "layer", (11, 0, 4 + 6, 0)),
        # With nothing fixed before and after, units that fixed weights tie together scale together.
        ("w_asym", "mlp", (0, 2, 0), (4,), "relu", "none", (1, 1, 0, 0)),
        # One fixed weight an input pins nothing before a LayerNorm; two tie the unit to the whole layer.
        ("w_asym", "mlp", (2, 1, 2), (4,), "relu", "layer", (7, 1, 1, 2)),
        ("w_asym", "mlp", (2, 1, 2), (4,), "gelu", "layer", (0, 1, 1, 2)),
        ("w_asym", "mlp", (2, 2, 2), (4,), "relu", "layer", (4, 1, 1, 2)),
        ("w_asym", "cnn", (3, 9, 2), (4, 4, 1), "relu", "layer", (1, 1, 0, 2)),
        # The streams of stages are 1, 2 and 4 channels wide, and so are the blocks. Projections add biases to biases.
        pytest.param("standard", "resnet", (), (9, 9, 1), "relu", "layer", (14, 9, 0, 2 + 4), marks=pytest.mark.long),
        pytest.param("sigma_asym", "resnet", (), (9, 9, 1), "relu", "layer", (0, 9, 0, 2 + 4), marks=pytest.mark.long),
        ("w_asym", "resnet", (3, 2, 0, 2, 0, 0, 3, 3, 0, 2), (9, 9, 1), "relu", "layer", (4, 7, 0, 2 + 4)),
        # The norm of a candidate has two kernels; reset and update gates have none.
        ("standard", "rnn", (), (5, 3), "relu", "layer", (11, 2, 3 + 6 + 6 + 5, 2)),
        ("standard", "rnn", (), (5, 3), "relu", "none", (11, 0, 0, 0)),
        # A norm over nodes undoes shift and scale of every unit on its own.
        ("standard", "gcn", (), (4,), "relu", "layer", (11, 2, 4 + 6, 2)),
        ("standard", "gcn", (), (4,), "relu", "batch", (11, 6 + 5, 0, 6 + 5)),
        ("sigma_asym", "gcn", (), (4,), "relu", "batch", (0, 6 + 5, 0, 6 + 5)),
        ("pruned", "gcn", (2, 1, 2), (4,), "relu", "batch", (11, 6 + 5, 0, 6 + 5)),
        ("w_asym", "gcn", (0, 1, 2), (4,), "relu", "batch", (2, 11, 0, 6 + 5)),
        ("w_sigma_asym", "gcn", (0, 1, 2), (4,), "relu", "batch", (0, 6, 0, 6 + 5)),
    ],
)
def test_continuous_symmetries_are_the_flat_directions(
    arch, backbone, num_fixed, input_shape, activation, norm, expected
):
    model, frozen = network(arch, backbone, num_fixed, input_shape, activation, norm)
    structure = structure_of(model, frozen, activation, norm)
    counts = count_symmetries(structure)
    assert tuple(sum(counts[family].values()) for family in CONTINUOUS) == (*expected, 0, 0)
    shapes = {path: leaf.shape for path, leaf in trees.flatten(model.params_shape).items()}
    assert num_flat_directions(structure, shapes, backbone, input_shape, sum(expected)) == sum(expected)


def test_permutations_are_the_automorphisms_of_what_is_fixed():
    generator = np.random.default_rng(0)
    spec = {"a/kernel": (None, "a"), "b/kernel": ("a", "b"), "output/kernel": ("b", None)}
    orders = []
    for _ in range(80):
        shares, spread = generator.choice([0, 0, 0.1, 0.5], 3), generator.integers(2)
        fixed = {
            path: np.where(generator.random(shape) < share, spread * generator.standard_normal(shape) + 1, np.nan)
            for path, shape, share in zip(spec, [(3, 4), (4, 4), (4, 2)], shares, strict=True)
        }
        labels = [np.nan_to_num(values, nan=np.inf) for values in fixed.values()]
        log_order = sum(count_symmetries(Structure("gelu", spec, {}, fixed, {}, {}))["permutations"].values())
        orders.append(len(automorphisms(labels)))
        assert math.exp(log_order) == pytest.approx(orders[-1])
    assert {1, 2, 4, 24, 576} <= set(orders)


@pytest.mark.parametrize(
    ("between", "order"),
    [
        (np.zeros((4, 4)), 24),
        (0.5 * np.eye(4), 24),
        (np.outer(np.eye(4)[0], np.ones(4)), 6),
        # Swapping the two pairs is no swap of two units.
        (np.kron(np.eye(2), 1 - np.eye(2)), 8),
        (np.random.default_rng(0).standard_normal((4, 4)), 1),
    ],
    ids=["nothing", "diagonal", "one row", "pairs", "everything"],
)
def test_recurrent_kernels_and_gates_leave_the_swaps_that_leave_them(between, order):
    spec = {"input/kernel": (None, "a"), "recurrent/kernel": ("a", "a"), "output/kernel": ("a", None), "act": ("a",)}
    free = {"input/kernel": np.full((3, 4), np.nan), "output/kernel": np.full((4, 2), np.nan)}
    nothing, something = np.full((4, 4), np.nan), np.where(between == 0, np.nan, between)
    for recurrent, gates in ((something, {}), (nothing, {"act": between})):
        structure = Structure("relu", spec, {}, free | {"recurrent/kernel": recurrent}, {}, gates)
        assert math.exp(sum(count_symmetries(structure)["permutations"].values())) == pytest.approx(order)


def describe_by_script(*words):
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True)


def test_script_prints_pure_json_and_warns_of_units_that_are_cut_off():
    process = describe_by_script("--preset", "paper_mlp_mnist", "--arch", "pruned", "--num-outputs", "1", "--json")
    description = json.loads(process.stdout)
    num_fixed, num_weights = 3 * 64 * 512 + 256, (784 + 512 + 512) * 512 + 512
    assert description["num_fixed"] == num_fixed
    assert description["num_trainable"] == num_weights - num_fixed + 3 * 3 * 512 + 1  # Biases and norms.
    assert description["cut_off"] == {"units_2": {"num_units": 512, "no_incoming": 0, "no_outgoing": 256}}
    assert process.stderr.startswith("warning: output/kernel (512, 1): 256 of 512 inputs have no outgoing weight, ")
    assert process.stderr.count("\n") == 1
    assert {"checksum", "layers", "symmetries"} < set(description)


def test_script_teaches_and_refuses():
    assert "--preset paper_bnn_mlp8 --arch w_asym" in describe_by_script("--help").stdout
    process = describe_by_script("--arch", "wasym")
    assert process.returncode == 2
    assert process.stderr == f"error: unknown arch 'wasym', choose from {', '.join(METHODS)}\n"
