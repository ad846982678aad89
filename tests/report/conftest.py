"""Small run directories as the scripts in ``runs/`` leave them, filled with random numbers."""

import zlib
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from draws import write_draws

from asymjax.experiments.compare_posteriors.table import GROUPS
from asymjax.experiments.variants import Variant
from asymjax.lab.results import write_arrays
from asymjax.lab.run_files import dumps, to_json
from asymjax.models.config import Models
from asymjax.train.optimizers import OptimizerConfig

NUM_TEST, NUM_NOISE, NUM_OUTPUTS = 30, 10, 3
SHAPES = {"position/dense_0/bias": (3,), "position/dense_0/kernel": (2, 3)}
SPLITS = ("train", "test")
PATH_STATISTICS = ("delta", "is_monotonic", "local_convexity", "global_convexity", "global_convexity_released")
METRICS = {
    "classification": ("accuracy", "lppd", "nll", "ece", "brier"),
    "regression": ("rmse", "lppd", "coverage_error", *(f"coverage_0.{level}" for level in range(1, 10))),
}


def make_draws(rng, task, num_chains, has_weights):
    shape = (num_chains, 20)
    num_values = NUM_OUTPUTS if task == "classification" else 2 * NUM_OUTPUTS
    draws = {"logdensity": rng.normal(size=shape)}
    draws["outputs"] = rng.normal(size=(*shape, NUM_TEST + NUM_NOISE, num_values))
    if has_weights:
        draws |= {name: rng.normal(size=(*shape, *leaf)) for name, leaf in SHAPES.items()}
    return draws


def write_unnamed(path, group, arrays):
    """Write arrays below a group of the results, whose dimensions have names that say nothing."""
    named = {
        f"{group}/{name}": ([f"{name}.{axis}".replace("/", ".") for axis in range(np.ndim(array))], array)
        for name, array in arrays.items()
    }
    write_arrays(path, named)


def make_diagnostics(rng, has_weights):
    sizes = {"function_space": 2 * NUM_TEST * NUM_OUTPUTS} | ({"weight_space": 9} if has_weights else {})
    ranges = {"rhat": (1, 1.3), "ess_bulk": (5, 900), "ess_tail": (5, 900)}
    return {f"{space}/{name}": rng.uniform(*ends, sizes[space]) for space in sizes for name, ends in ranges.items()}


def make_predictions(rng, task, has_map):
    num_inputs = NUM_TEST + NUM_NOISE
    arrays = {"targets": rng.normal(size=(NUM_TEST, NUM_OUTPUTS))}
    if task == "classification":
        arrays["targets"] = rng.permutation(np.arange(NUM_TEST) % NUM_OUTPUTS)
    for name in ("posterior", "ensemble", "map") if has_map else ("posterior",):
        if task == "classification":
            arrays[f"{name}/probability"] = rng.dirichlet(np.ones(NUM_OUTPUTS), num_inputs)
            arrays[f"{name}/entropy_total"] = rng.uniform(0, 1, num_inputs)
        else:
            arrays[f"{name}/mean"] = rng.normal(size=(num_inputs, NUM_OUTPUTS))
            arrays[f"{name}/aleatoric_scale"] = rng.uniform(0.1, 1, (num_inputs, NUM_OUTPUTS))
            arrays[f"{name}/epistemic_scale"] = rng.uniform(0.1, 1, (num_inputs, NUM_OUTPUTS))
    return arrays


def make_test_scores(rng, task, has_map):
    def scores():
        return {metric: rng.uniform(0.1, 0.9) for metric in METRICS[task]}

    if not has_map:
        return {"map": None, "ensemble": None, "posterior": scores(), "mean_network": None}
    members = {metric: rng.uniform(0.1, 0.9, 4).tolist() for metric in METRICS[task]}
    means = {
        "map_by_seed": members,
        "mean_network": {"raw": scores() | {"lppd": -0.25}, "aligned": None, "own": scores()},
    }
    return {name: scores() for name in ("map", "map_best", "ensemble", "posterior")} | means


def summarise(diagnostics, space):
    values = {name: diagnostics.get(f"{space}/{name}") for name in ("rhat", "ess_bulk", "ess_tail")}
    if values["rhat"] is None:
        return None
    kinds = {"min": np.min, "max": np.max, "median": np.median}
    return {f"{name}_{kind}": float(reduce(v)) for name, v in values.items() for kind, reduce in kinds.items()}


def make_modes(rng):
    return {
        "aligned_weight_space": {"rhat_max": rng.uniform(1, 2), "ess_bulk_min": rng.uniform(10, 100)},
        "chambers": {"switches_mean": rng.uniform(0, 9), "identity_share": rng.uniform()},
        "covariance": {"permutation_share": rng.uniform()},
        "barrier": {"maximum": {"mean": rng.uniform(0, 99)}},
        "aligned_barrier": None,
        "within_barrier": {"lags": [1, 9], "maximum": [rng.uniform(0, 9), rng.uniform(0, 99)]},
        "permuted_barrier": rng.uniform(0, 99),
    }


def make_shift(rng, task, has_map):
    def scores():
        corrupted = {name: {metric: rng.uniform() for metric in METRICS[task]} for name in ("none", "noise")}
        names = ("total", "epistemic", "auroc_total", "auroc_epistemic")
        return {"corrupted": corrupted, "other": {"noise": {name: rng.uniform() for name in names}}}

    return {"posterior": scores(), "ensemble": scores() if has_map else None}


def make_description(rng, task, arch):
    return {
        "arch": arch,
        "backbone": "mlp",
        "dataset": "digits" if task == "classification" else "diabetes",
        "task": task,
        "num_trainable": int(rng.integers(1000, 9000)),
        "num_fixed": int(rng.integers(100, 900)),
    }


def make_summary(rng, task, arch, diagnostics, has_map):
    sampler = {
        "grad_evals_per_draw": 45.25,
        "acceptance_rate": 0.875,
        "num_divergent": 7,
        "cut_share": 0.25,
        "step_size": [0.01, 0.03],
    }
    return {
        **make_description(rng, task, arch),
        "fixed_to_free_ratio": {"dense_0/kernel": 0.5, "output/kernel": 8.0},
        "num_rows": {"train": 120, "validation": 10, "test": NUM_TEST},
        "function_space": summarise(diagnostics, "function_space"),
        "weight_space": summarise(diagnostics, "weight_space"),
        "modes": make_modes(rng) if diagnostics.get("weight_space/rhat") is not None else None,
        "shift": make_shift(rng, task, has_map) if diagnostics.get("weight_space/rhat") is not None else None,
        "sampler": sampler | {"num_grad_evals": 12345, "num_warmup_grad_evals": 6789},
        "test": make_test_scores(rng, task, has_map),
        "seconds": {name: rng.uniform(0, 99) for name in ("compile", "train", "warmup", "sample")},
        "verdict": {"trusted": True, "sentence": "Trust the predictions: made up."},
    }


def write_run(
    parent, task="classification", arch="standard", num_chains=4, has_weights=True, has_map=True, edit=None, **settings
):
    """Write a run directory and return its path.

    ``settings`` are further fields of the model's configuration. ``edit(summary, diagnostics)`` may change both.
    """
    name = f"{task}-{arch}-{len(list(parent.iterdir()))}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    path = parent / name
    path.mkdir()
    write_draws(path, [make_draws(rng, task, num_chains, has_weights) for _ in range(2)])
    diagnostics = make_diagnostics(rng, has_weights)
    summary = make_summary(rng, task, arch, diagnostics, has_map)
    if edit:
        edit(summary, diagnostics)
    write_unnamed(path, "diagnostics", diagnostics)
    write_unnamed(path, "predictions", make_predictions(rng, task, has_map))
    config = {"model": {"arch": arch, "widths": [8], **settings}, "posterior": {"noise": "heteroscedastic"}}
    provenance = {
        "command": ["bnn_hmc.py", "--arch", arch],
        "commit": "0123abcd",
        "uncommitted_changes": False,
        "device": {"kind": "cpu", "count": 2},
    }
    record = {"experiment": "bnn_hmc", "config": config, "provenance": provenance}
    (path / "config.json").write_text(dumps(record))
    (path / "summary.json").write_text(dumps(summary))
    (path / "DONE").touch()
    return path


# Linear connectivity


def make_statistics(rng, has_interval=True):
    mean, half_width = rng.uniform(0, 1), rng.uniform(0.01, 0.1)
    if not has_interval:
        return {"mean": mean, "std": np.nan, "low": np.nan, "high": np.nan}
    return {"mean": mean, "std": rng.uniform(0.1, 1), "low": mean - half_width, "high": mean + half_width}


LAYERS = ("dense_0/kernel", "dense_1/kernel")


def make_kind(rng, arch, metrics, num_networks):
    values = {split: {metric: rng.uniform(0, 1, num_networks).tolist() for metric in metrics} for split in SPLITS}
    averages = {split: {metric: rng.uniform(0, 1, num_networks).tolist() for metric in metrics} for split in SPLITS}
    barrier = {
        split: {
            metric: {which: make_statistics(rng, num_networks > 2) for which in ("midpoint", "maximum")}
            for metric in metrics
        }
        for split in SPLITS
    }
    return {
        "arch": arch,
        "num_trainable": int(rng.integers(1000, 9000)),
        "num_fixed": int(rng.integers(100, 900)),
        "networks": list(map(str, range(num_networks))),
        "excluded": {},
        "alone": values,
        "average": averages,
        "num_pairs": num_networks * (num_networks - 1) // 2,
        "barrier": barrier,
        "distance": make_statistics(rng, num_networks > 2),
        "aligned": None,
        "strength": None if arch == "sigma_asym" else make_strength(rng, num_networks),
        "plane": {"networks": ["0", "1", "2"], "metric": "filter", "num_rows": 2000} if num_networks > 2 else None,
    }


def make_strength(rng, num_networks):
    names = ("coherence", "num_dimensions", "swap_cost_median", "swap_cost_low", "share_negative", "distance")
    layers = {layer: {name: rng.uniform(0, 1, min(num_networks, 3)).tolist() for name in names} for layer in LAYERS}
    return {"networks": ["0", "1", "2"][:num_networks], "share_of_variance": 0.9, "num_rows": 360, "layers": layers}


def make_symmetry_arrays(rng, kind):
    arrays = {}
    if kind["plane"]:
        arrays |= {"plane/corners": np.array([[0.0, 0], [1.2, 0], [0.5, 1.1]])}
        arrays |= {f"plane/{name}": np.linspace(-0.3, 1.5, 7) for name in ("first", "second")}
        arrays |= {"plane/loss": rng.lognormal(size=(7, 7))}
    if kind["strength"]:
        arrays |= {f"strength/{layer}": rng.normal(size=50).astype("float32") for layer in LAYERS}
    return arrays


def make_curves(rng, metrics, num_networks, num_points):
    pairs = np.array(list(combinations(range(num_networks), 2)))
    arrays = {"pairs": pairs, "distance": rng.uniform(0, 1, len(pairs))}
    for name in (f"{split}/{metric}" for split in SPLITS for metric in metrics):
        curves = rng.uniform(0, 1, (len(pairs), num_points))
        mean = curves.mean(axis=0)
        arrays |= {f"{name}/curves": curves, f"{name}/curve_mean": mean}
        arrays |= {f"{name}/curve_low": mean - 0.1, f"{name}/curve_high": mean + 0.1}
        arrays |= {f"{name}/{which}": rng.uniform(-0.1, 1, len(pairs)) for which in ("midpoint", "maximum")}
    return arrays


def kinds_config(models, archs):
    """Return what config.json says of kinds that differ in their method alone."""
    optimizer = OptimizerConfig(weight_decay=0.03)
    return to_json({arch: Variant(models.of(arch), optimizer).record() for arch in archs})


def write_connectivity(
    parent, task="classification", archs=("standard", "w_asym"), num_networks=4, dataset="digits", model=None, edit=None
):
    """Write a run directory of linear connectivity and return its path; ``edit(summary, config)`` may change both."""
    name = f"lmc-{task}-{len(list(parent.iterdir()))}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    path = parent / name
    path.mkdir()
    metrics = ("loss", "recalibrated_loss", "accuracy") if task == "classification" else ("loss",)
    kinds = {arch: make_kind(rng, arch, metrics, num_networks) for arch in archs}
    arrays = {"points": np.linspace(0, 1, 5)}
    for arch in archs:
        found = make_curves(rng, metrics, num_networks, 5) | make_symmetry_arrays(rng, kinds[arch])
        arrays |= {f"{arch}/{name}": array for name, array in found.items()}
    summary = {
        "backbone": "mlp",
        "dataset": dataset,
        "task": task,
        "num_rows": {"train": 54_000, "validation": 6000, "test": 10_000},
        "num_measured_rows": {"train": 10_000, "test": 10_000},
        "diverged": {},
        "kinds": kinds,
        "seconds": {"compile": 1.0, "train": 2.0, "paths": 3.0},
    }
    config = {
        "data": {"dataset": dataset, "data_seed": 0},
        "kinds": kinds_config(model or Models(), archs),
    }
    if edit:
        edit(summary, config)
    write_unnamed(path, "kinds", arrays)
    finish_run(path, "lmc", archs, config, summary)
    return path


def finish_run(path, experiment, archs, config, summary):
    provenance = {
        "command": [f"{experiment}.py", "--archs", *archs],
        "commit": "0123abcd",
        "uncommitted_changes": False,
        "device": {"kind": "cpu", "count": 2},
    }
    record = {"experiment": experiment, "config": config, "provenance": provenance}
    (path / "config.json").write_text(dumps(record))
    (path / "summary.json").write_text(dumps(summary))
    (path / "DONE").touch()


# Monotonic linear interpolation


def write_interpolation(parent, archs=("standard", "w_asym"), num_networks=5, dataset="digits", edit=None):
    """Write a run directory of paths from start to end and return its path; see ``write_connectivity``."""
    name = f"mli-{len(list(parent.iterdir()))}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    path = parent / name
    path.mkdir()
    points = np.linspace(0, 1, 5)
    arrays, kinds = {"points": points}, {}
    for arch in archs:
        kind = make_kind(rng, arch, ("loss", "accuracy"), num_networks)
        ends = {"initial": kind.pop("alone"), "trained": kind.pop("average")}
        statistics = {}
        for split in SPLITS:
            arrays[f"{arch}/{split}/loss/curves"] = 2 - 1.9 * points + 0.1 * rng.random((num_networks, 5))
            arrays |= {f"{arch}/{split}/{name}": rng.random(num_networks) for name in PATH_STATISTICS}
            statistics[split] = {name: make_statistics(rng) for name in PATH_STATISTICS}
            statistics[split]["is_monotonic"] = {"mean": 0.25, "low": 0.125, "high": 0.5}
        kinds[arch] = kind | ends | {"statistics": statistics, "recipes": {}}
    summary = {
        "backbone": "mlp",
        "dataset": dataset,
        "task": "classification",
        "num_rows": {"train": 45_000, "validation": 5000, "test": 10_000},
        "num_measured_rows": {"train": 10_000, "test": 10_000},
        "diverged": {},
        "kinds": kinds,
        "seconds": {"compile": 1.0, "train": 2.0, "paths": 3.0},
    }
    config = {
        "data": {"dataset": dataset, "data_seed": 0},
        "kinds": kinds_config(Models(), archs),
    }
    if edit:
        edit(summary, config, arrays)
    write_unnamed(path, "kinds", arrays)
    finish_run(path, "mli", archs, config, summary)
    return path


# Sweeps


def make_program(rng, task, arch, coordinates, num_validation=10):
    """Return what summary.json says of the networks of one program; the last of them failed."""
    count = len(coordinates["seed"])
    metrics = ("loss", "accuracy") if task == "classification" else ("loss",)
    scores = {split: {metric: rng.uniform(0.1, 0.9, count).tolist() for metric in metrics} for split in SPLITS}
    return {
        **make_description(rng, task, arch),
        "num_rows": {"train": 120, "validation": num_validation, "test": NUM_TEST},
        "coordinates": dict(coordinates),
        "status": [*["ok"] * (count - 1), "not finite at step 7"],
        **scores,
        "validation": {metric: rng.uniform(0.1, 0.9, count).tolist() for metric in metrics} if num_validation else None,
    }


def write_sweep(parent, programs, task="classification", grid=(), num_validation=10, edit=None):
    """Write a run directory of a sweep and return its path.

    Parameters
    ----------
    programs : coordinates of the networks by the name of their program, which has one even where it is the only one.
    grid : axes of a grid of several programs; none where there is one program.
    edit : may change the summary.
    """
    name = f"sweep-{task}-{len(list(parent.iterdir()))}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    path = parent / name
    path.mkdir()
    points = {
        program: make_program(rng, task, "w_asym" if "w_asym" in program else "standard", coordinates, num_validation)
        for program, coordinates in programs.items()
    }
    (own,) = programs.values() if not grid else ({},)
    summary, config = ({"points": points}, {"grid": grid}) if grid else (next(iter(points.values())), {})
    if edit:
        edit(summary)
    if len(own) > 1:
        config["coordinates"] = own
    finish_run(path, "train_grid" if grid else "train_sweep", ["standard"], config, summary)
    return path


# Studies of posteriors


def make_repeats(rng, num_repeats, low, high, is_compared):
    values = rng.uniform(low, high, num_repeats)
    return {
        "repeats": values.tolist(),
        **make_statistics(rng),
        "mean": values.mean(),
        "low": values.min() - 0.1,
        "high": values.max() + 0.1,
        "difference": make_statistics(rng) if is_compared else None,
    }


ABSENT = {"classification": {"rmse", "corrupted_rmse", "coverage_error"}, "regression": {"accuracy", "ece"}}
BOUNDS = ("elbo", "information", "kl", "collapsed")
AGAINST = ("reference_total_variation", "function_variance_ratio", "weight_variance_reference_ratio")


def make_arm(rng, arch, varied, num_repeats, sampler=None, task="classification"):
    """Return the entry of an arm; without a sampler as studies of a single one once wrote it."""
    is_compared = arch != "standard"
    metrics = {
        metric: make_repeats(rng, num_repeats, 1, 1.2, is_compared)
        for _, columns in GROUPS.values()
        for metric, _ in columns.values()
        if metric not in ABSENT[task]
    }
    metrics |= {name: make_repeats(rng, num_repeats, 0, 1, False) for name in ("in_place_between", "in_place_chance")}
    metrics |= {"effective_rhat_max": make_repeats(rng, num_repeats, 1.1, 4, is_compared)}
    within = {lag: make_repeats(rng, num_repeats, 1, 9000, False) for lag in (1, 4, 299)}
    shift = {part: make_repeats(rng, num_repeats, 0.5, 1.5, False) for part in ("variance_ratio", "ess_per_1000")}
    distances = {"within": 0.25, "baseline": 0.5 if is_compared else None}
    held = make_repeats(rng, num_repeats, 0, 1, False) | {"between_references": 0.125}
    measures = ("agreement", "total_variation")[task == "regression" :]
    arm = {
        **{"arch": arch, "varied": varied, "baseline": "standard", "num_trainable": 1234, "num_fixed": 56},
        **{"metrics": metrics, "flat_directions": {"dense_0/bias": shift}},
        "reference": dict.fromkeys(measures, held) if is_compared or sampler else None,
        "within_barriers": within,
        "units_in_place": {lag: make_repeats(rng, num_repeats, 0, 1, False) for lag in within},
        "prior": dict.fromkeys(("before", "after", "std_before", "std_after", "std_wanted"), 1.5),
        "predictions": {
            **dict.fromkeys(measures, distances),
            "excess": make_statistics(rng) if is_compared else None,
        },
    }
    if sampler is None:
        arm["metrics"] = {name: found for name, found in metrics.items() if name not in BOUNDS}
        return arm
    arm["metrics"] |= {name: make_repeats(rng, num_repeats, 0.1, 1, is_compared) for name in AGAINST}
    if sampler == "hmc":
        nothing = dict.fromkeys(("mean", "std", "low", "high"))
        arm["metrics"] |= {name: {"repeats": [None] * num_repeats, **nothing, "difference": None} for name in BOUNDS}
    tested = make_statistics(rng) | {"p_value": 0.001, "p_holm": 0.04}
    differences = dict.fromkeys(("elbo", "nll", "reference_total_variation"), tested)
    is_held = sampler not in ("hmc", "meanfield")
    return arm | {
        **{"sampler": sampler, "is_fit": sampler != "hmc"},
        "plain_family": {"arm": "standard-meanfield", "differences": differences} if is_held else None,
    }


def make_study_arrays(rng, names, num_repeats):
    arrays = {}
    for name in names:
        for repeat in range(num_repeats):
            gradients = np.linspace(1, 10, 10) * rng.uniform(15e3, 20e3)
            rhats = 1 + rng.uniform(0.1, 0.8) / np.arange(1, 11)
            lppds = -0.1 - rng.uniform(0.01, 0.05) / np.arange(1, 11)
            curve = {"num_grad_evals": gradients, "rhat_max": rhats, "lppd": lppds}
            arrays |= {f"{name}/{repeat}/{field}": values for field, values in curve.items()}
    shape = (len(names), len(names), num_repeats, num_repeats)
    return arrays | {field: rng.uniform(0.01, 0.06, shape) for field in ("agreement", "total_variation")}


def write_study(parent, arms, num_repeats=3, samplers=(), task="classification"):
    """Write a run directory of a study and return its path.

    Parameters
    ----------
    arms : network -> (method, what varies).
    samplers : of every network; without any, as studies of a single one once wrote it.
    """
    rng = np.random.default_rng(0)
    path = parent / "study"
    path.mkdir()
    entries = {name: make_arm(rng, *arm, num_repeats, task=task) for name, arm in arms.items() if not samplers} | {
        f"{name}-{sampler}": make_arm(rng, *arm, num_repeats, sampler, task) | {"network": name}
        for name, arm in arms.items()
        for sampler in samplers
    }
    if samplers:
        for entry in entries.values():
            entry["baseline"] = f"standard-{entry['sampler']}"
    summary = {
        **{"backbone": "mlp", "dataset": "digits", "task": task},
        **({"samplers": samplers} if samplers else {"sampler": "hmc"}),
        **{"num_repeats": num_repeats, "num_rows": {"train": 120, "test": 30}, "budget": 150e3, "arms": entries},
    }
    write_unnamed(path, "study", make_study_arrays(rng, list(entries), num_repeats))
    provenance = {"command": [], "commit": None, "uncommitted_changes": False, "device": {"kind": "cpu", "count": 2}}
    config = {"study": {"num_repeats": num_repeats, "num_chains": 4, "num_draws": 200}}
    record = {"experiment": "compare_posteriors", "config": config, "provenance": provenance}
    (path / "config.json").write_text(dumps(record))
    (path / "summary.json").write_text(dumps(summary))
    (path / "DONE").touch()
    return path


@pytest.fixture
def make_sweep(tmp_path):
    """Write a run directory of a sweep below ``tmp_path``; arguments of ``write_sweep``."""
    return partial(write_sweep, tmp_path)


@pytest.fixture
def make_study(tmp_path):
    """Write a run directory of a study of posteriors below ``tmp_path``; arguments of ``write_study``."""
    return partial(write_study, tmp_path)


@pytest.fixture
def make_interpolation(tmp_path):
    """Write a run directory of paths from start to end below ``tmp_path``; arguments of ``write_interpolation``."""
    return partial(write_interpolation, tmp_path)


@pytest.fixture
def make_connectivity(tmp_path):
    """Write a run directory of linear connectivity below ``tmp_path``; arguments of ``write_connectivity``."""
    return partial(write_connectivity, tmp_path)


@pytest.fixture
def make_run(tmp_path):
    """Write a run directory below ``tmp_path``; arguments of ``write_run``."""
    return partial(write_run, tmp_path)
