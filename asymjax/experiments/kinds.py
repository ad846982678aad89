"""Kinds of networks to compare: many seeds of each of several methods, trained here or read from finished sweeps."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from asymjax import data, parallel, results, rng, trees
from asymjax.config import ModelConfig, OptimizerConfig, RunConfig, SeedConfig
from asymjax.errors import DivergedError, InputError
from asymjax.experiments.train_sweep import make_trainer, train_networks
from asymjax.models import build_model, draw_frozen
from asymjax.rundir import RunDir, differences, read_state
from asymjax.symmetry.connectivity import finite_networks
from asymjax.train.sweep import failures
from asymjax.train.trainer import TrainState
from asymjax.types import Dataset, Frozen, Model, Params


class Networks(NamedTuple):
    """Trained networks of one kind, those apart whose training diverged.

    Attributes
    ----------
    params : effective parameters, NumPy leaves [network, ...], finite.
    names : [network] the seed of each; ``"sweep.seed"``, counted from 0, where several sweeps make one kind.
    excluded : name -> why, of those that are not among ``params``.
    """

    params: Params
    names: list[str]
    excluded: dict[str, str]


class Kind(NamedTuple):
    """Networks of one model that differ in their seeds alone.

    Attributes
    ----------
    config, model, frozen : the model.
    networks : (run) -> Networks; trains or reads them, on the first call for it.
    """

    config: ModelConfig
    model: Model
    frozen: Frozen
    networks: Callable[[RunDir], Networks]


def keep_finite(arch: str, params: Params, names: Sequence[str], failed: Mapping[str, str]) -> Networks:
    """Set networks apart that failed in training or whose parameters are not finite.

    Raises
    ------
    DivergedError
        If fewer than two are left.
    """
    is_finite = finite_networks(params)
    excluded = {
        name: failed.get(name, "parameters are not finite")
        for name, finite in zip(names, is_finite, strict=True)
        if name in failed or not finite
    }
    kept = [index for index, name in enumerate(names) if name not in excluded]
    if len(kept) < 2:
        raise DivergedError(
            f"{arch}: {len(kept)} of {len(names)} networks are finite, a pair needs two; "
            + ", ".join(f"seed {name}: {why}" for name, why in excluded.items())
        )
    return Networks(jax.tree.map(lambda leaf: leaf[kept], params), [names[index] for index in kept], excluded)


def _effective(model: Model, state: TrainState, frozen: Frozen) -> Params:
    return trees.to_host(jax.jit(jax.vmap(model.merge, (0, None)))(state.position, frozen))


def _failed(state: TrainState) -> dict[int, str]:
    return {seed: f"loss not finite at step {step}" for seed, step in failures(state).items()}


# Trained here ----------------------------------------------------------------------------------------------------


def trained_kinds(
    dataset: Dataset,
    configs: Mapping[str, ModelConfig],
    optimizer: OptimizerConfig,
    seeds: SeedConfig,
    num_seeds: int,
    run_config: RunConfig,
) -> dict[str, Kind]:
    """Prepare the training of ``num_seeds`` networks of each configuration; the same networks as of ``train_sweep``.

    Raises
    ------
    InputError
        If a name is unknown or settings cannot be met.
    """
    placement = parallel.place(num_seeds, run_config.num_devices, run_config.placement)
    names = list(map(str, range(num_seeds)))

    def train(arch: str, model: Model, frozen: Frozen, run: RunDir) -> Networks:
        print(f"{arch}: ", end="")
        state = train_networks(run, model, frozen, dataset, optimizer, seeds, placement, f"train-{arch}")
        failed = {str(seed): why for seed, why in _failed(state).items()}
        return keep_finite(arch, _effective(model, state, frozen), names, failed)

    kinds = {}
    for arch, config in configs.items():
        model = build_model(config, dataset.input_shape, dataset.num_outputs)
        frozen = draw_frozen(model, config.mask_seed)
        kinds[arch] = Kind(config, model, frozen, partial(train, arch, model, frozen))
    return kinds


# Read from finished sweeps ---------------------------------------------------------------------------------------


class Sweep(NamedTuple):
    """A finished run of ``train_sweep``.

    Attributes
    ----------
    path : its directory.
    config : what decided its result.
    checksums : of its dataset and of its frozen constants.
    """

    path: Path
    config: dict[str, Any]
    checksums: dict[str, str]

    @property
    def arch(self) -> str:
        """Its method."""
        return self.config["model"]["arch"]

    @property
    def recipe(self) -> dict[str, Any]:
        """What all networks of one kind have in common."""
        return {name: self.config[name] for name in ("data", "model", "optimizer")} | {"checksums": self.checksums}


def read_sweeps(paths: Sequence[Path]) -> dict[str, list[Sweep]]:
    """Read what finished sweeps are, by their method; sweeps of one method make one kind.

    Raises
    ------
    InputError
        If a directory holds no finished sweep, if sweeps of one method differ in data, model, frozen constants or
        optimizer or hold the same networks, or if those of different methods differ in their data.
    """
    sweeps = [_read_sweep(path) for path in paths]
    kinds: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        kinds.setdefault(sweep.arch, []).append(sweep)
    for arch, (first, *others) in kinds.items():
        for other in others:
            _refuse(first, other, differences(first.recipe, other.recipe), f"both {arch}, so one kind")
            if first.config["seeds"] == other.config["seeds"]:
                raise InputError(
                    f"{first.path} and {other.path} hold the same networks (equal seeds); give one of them"
                )
    for other in sweeps[1:]:
        old, new = (
            {"data": sweep.config["data"], "checksum": sweep.checksums["dataset"]} for sweep in (sweeps[0], other)
        )
        _refuse(sweeps[0], other, differences(old, new), "compared on the same data")
    return kinds


def _refuse(first: Sweep, other: Sweep, changed: list[str], why: str) -> None:
    if changed:
        raise InputError(f"{first.path} and {other.path} are {why}, but differ in\n  " + "\n  ".join(changed))


def _read_sweep(path: Path) -> Sweep:
    record = results.read_json(path / "config.json")
    if record["experiment"] != "train_sweep":
        raise InputError(f"{path} holds a run of {record['experiment']}, not of train_sweep")
    if not (path / "DONE").exists():
        raise InputError(f"{path} is not finished (there is no DONE); run its command again to go on")
    return Sweep(path, record["config"], record["checksums"])


def _from_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def sweep_data(sweep: Sweep, data_dir: Path | None) -> Dataset:
    """Load the dataset of a sweep.

    Raises
    ------
    InputError
        If it is not the one that the sweep was trained on.
    """
    dataset = data.load(sweep.config["data"]["dataset"], data_dir, sweep.config["data"]["data_seed"])
    _check_checksum(sweep, "dataset", dataset.checksum)
    return dataset


def _check_checksum(sweep: Sweep, name: str, found: str) -> None:
    known = sweep.checksums[name]
    if found != known:
        raise InputError(
            f"{sweep.path}: the checksum of {name} is {found[:12]}, the sweep was trained with {known[:12]}; "
            "train it again with this version and these data"
        )


def loaded_kinds(dataset: Dataset, sweeps: Mapping[str, Sequence[Sweep]]) -> dict[str, Kind]:
    """Prepare the reading of the networks of finished sweeps.

    Raises
    ------
    InputError
        If a model can no longer be built, or its frozen constants are others.
    """
    kinds = {}
    for arch, members in sweeps.items():
        config = ModelConfig(**_from_json(members[0].config["model"]))
        model = build_model(config, dataset.input_shape, dataset.num_outputs)
        frozen = draw_frozen(model, config.mask_seed)
        _check_checksum(members[0], "frozen", trees.checksum(frozen))
        kinds[arch] = Kind(config, model, frozen, partial(_load, arch, model, frozen, dataset, members))
    return kinds


def _load(arch: str, model: Model, frozen: Frozen, dataset: Dataset, sweeps: Sequence[Sweep], run: RunDir) -> Networks:
    parts: list[Params] = []
    names: list[str] = []
    failed: dict[str, str] = {}
    for number, sweep in enumerate(sweeps):
        trainer = make_trainer(model, dataset, OptimizerConfig(**_from_json(sweep.config["optimizer"])))
        keys = rng.member_keys(jax.random.key(0), sweep.config["num_seeds"])
        state = read_state(sweep.path, "train", jax.eval_shape(jax.vmap(trainer.init, (0, None)), keys, frozen))
        prefix = f"{number}." if len(sweeps) > 1 else ""
        parts.append(_effective(model, state, frozen))
        names += [f"{prefix}{seed}" for seed in range(sweep.config["num_seeds"])]
        failed |= {f"{prefix}{seed}": why for seed, why in _failed(state).items()}
    params = jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), *parts)
    run.identify(**{f"params_{arch}": trees.checksum(params)})
    return keep_finite(arch, trees.to_host(params), names, failed)
