"""Populations: the networks of variants, one a seed, trained here or read from finished sweeps."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import data, rng, trees
from asymjax.data.config import DataConfig
from asymjax.data.table import TableConfig
from asymjax.errors import DivergedError, InputError
from asymjax.experiments.setup import load_data
from asymjax.experiments.train_sweep.run import train_networks
from asymjax.experiments.variants import TRAINING, Variant, VariantsConfig, make_variants
from asymjax.lab import devices, processes, run_files
from asymjax.lab.results import open_networks, tree_of, values_of
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir
from asymjax.lab.sweep import why_failed
from asymjax.models import ModelConfig, Models, draw_frozen, vary_frozen
from asymjax.rng import SeedConfig
from asymjax.symmetry.connectivity import finite_networks
from asymjax.train.members import make_training
from asymjax.train.optimizers import OptimizerConfig
from asymjax.tree_paths import differences
from asymjax.types import Dataset, Frozen, Hyper, Key, Model, Params, Position


class Networks(NamedTuple):
    """Trained networks of one variant, those apart whose training diverged.

    Attributes
    ----------
    params : effective parameters, NumPy leaves [network, ...], finite.
    names : [network] the seed of each; ``"sweep.seed"``, counted from 0, where several sweeps make one variant.
    excluded : name -> why, of those that are not among ``params``.
    """

    params: Params
    names: list[str]
    excluded: dict[str, str]


class Population(NamedTuple):
    """The networks of a variant, which differ in their seeds alone.

    Attributes
    ----------
    variant : how they are made.
    model, frozen : the model; of masks that networks have of their own, ``frozen`` is the first.
    networks : (run) -> Networks; trains or reads them, on the first call for it.
    """

    variant: Variant
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


def _effective(model: Model, positions: Position, frozen: Frozen, hyper: Hyper) -> Params:
    def merge(network: tuple[Position, Hyper]) -> Params:
        position, own = network
        return model.merge(position, vary_frozen(model, frozen, own))

    return trees.to_host(jax.jit(lambda networks: lax.map(merge, networks))((positions, hyper)))


# Trained here ----------------------------------------------------------------------------------------------------


def prepare_populations(
    data_config: DataConfig,
    variants_config: VariantsConfig,
    models: Models,
    optimizer: OptimizerConfig,
    seeds: SeedConfig,
    num_seeds: int,
    run_config: RunConfig,
) -> tuple[Dataset, dict[str, Population], dict[str, Any]]:
    """Load the data, and prepare the training of all variants.

    Parameters
    ----------
    variants_config, models : the variants.
    optimizer : how they are trained.

    Returns
    -------
    The data, the populations by name, and the settings that decide what networks there are.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or there are fewer than two networks a variant.
    """
    if num_seeds < 2:
        raise InputError(f"num_seeds is {num_seeds}; give two networks of a variant at least")
    dataset = load_data(data_config)
    plain = Variant(models.of("standard"), optimizer)
    variants = make_variants(variants_config, models, plain, TRAINING, dataset)
    settings = {
        "data": data_config.identity(dataset),
        "kinds": {name: variant.record() for name, variant in variants.items()},
        "seeds": seeds,
        "num_seeds": num_seeds,
    }
    return dataset, trained_populations(dataset, variants, seeds, num_seeds, run_config), settings


def trained_populations(
    dataset: Dataset, variants: Mapping[str, Variant], seeds: SeedConfig, num_seeds: int, run_config: RunConfig
) -> dict[str, Population]:
    """Prepare the training of ``num_seeds`` networks of each variant; the same networks as of ``train_sweep``.

    Raises
    ------
    InputError
        If a name is unknown or settings cannot be met.
    """
    placement = devices.place(num_seeds, run_config.num_devices, run_config.placement)
    names = list(map(str, range(num_seeds)))

    def train(name: str, variant: Variant, model: Model, frozen: Frozen, run: RunDir) -> Networks:
        print(f"{name}: ", end="")
        hyper, config = own_masks(variant, num_seeds), variant.optimizer
        training = make_training(model, dataset, config, seeds, np.arange(num_seeds), hyper)
        state = train_networks(run, training, model, frozen, dataset, config, placement, f"train-{name}")
        positions, failed_step = processes.gather((state.position, state.failed_step))
        failed = {str(seed): why for seed, why in why_failed(failed_step).items()}
        return keep_finite(name, _effective(model, positions, frozen, hyper), names, failed)

    found = {}
    for name, variant in variants.items():
        model = _build(variant, dataset)
        frozen = draw_frozen(model, variant.model.mask_seed)
        found[name] = Population(variant, model, frozen, partial(train, name, variant, model, frozen))
    return found


def _build(variant: Variant, dataset: Dataset) -> Model:
    model = variant.build(dataset)
    if variant.donor is None:
        return model
    donor = variant.donor.build(dataset.input_shape, dataset.num_outputs)
    mask_key = rng.role_key(variant.model.mask_seed, "mask")

    def init(key: Key, frozen: Frozen) -> Position:
        constants = donor.freeze(mask_key)
        return model.split(donor.merge(donor.init(key, constants), constants), frozen)

    return model._replace(init=init)


def own_masks(variant: Variant, count: int) -> Hyper:
    """Return the mask seeds of networks with masks of their own, from the configured one on [network]; else nothing."""
    return {"mask_seed": variant.model.mask_seed + np.arange(count)} if variant.masks == "own" else {}


# Read from finished sweeps ---------------------------------------------------------------------------------------


class Sweep(NamedTuple):
    """A finished run of ``train_sweep``.

    Attributes
    ----------
    path : its directory.
    config : what decided its result.
    checksums : of its frozen constants.
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
        """What all networks of one variant have in common."""
        own = {name: self.config[name] for name in ("data", "model", "optimizer")}
        return own | {"start": self.config.get("start", "own"), "checksums": self.checksums}


def read_sweeps(paths: Sequence[Path]) -> dict[str, list[Sweep]]:
    """Read what finished sweeps are, by their method; sweeps of one method make one variant.

    Raises
    ------
    InputError
        If a directory holds no finished sweep, if sweeps of one method differ in data, model, frozen constants or
        optimizer or hold the same networks, or if those of different methods differ in their data.
    """
    sweeps = [_read_sweep(path) for path in paths]
    found: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        found.setdefault(sweep.arch, []).append(sweep)
    for arch, (first, *others) in found.items():
        for other in others:
            _refuse(first, other, differences(first.recipe, other.recipe), f"both {arch}, so one variant")
            if first.config["seeds"] == other.config["seeds"]:
                raise InputError(
                    f"{first.path} and {other.path} hold the same networks (equal seeds); give one of them"
                )
    for other in sweeps[1:]:
        old, new = ({"data": sweep.config["data"]} for sweep in (sweeps[0], other))
        _refuse(sweeps[0], other, differences(old, new), "compared on the same data")
    return found


def _refuse(first: Sweep, other: Sweep, changed: list[str], why: str) -> None:
    if changed:
        raise InputError(f"{first.path} and {other.path} are {why}, but differ in\n  " + "\n  ".join(changed))


def _read_sweep(path: Path) -> Sweep:
    record = run_files.read_json(path / "config.json")
    if (name := record.get("experiment")) != "train_sweep":
        raise InputError(
            f"{path} holds a run of {name}, not of train_sweep; give run directories of runs/train_sweep.py "
            "(of a grid, those below it)"
        )
    if "coordinates" in record["config"]:
        raise InputError(f"{path} holds networks of several settings; give sweeps of one recipe and one mask")
    if not (path / "DONE").exists():
        raise InputError(f"{path} is not finished (there is no DONE); run its command again to go on")
    return Sweep(path, record["config"], record["checksums"])


def sweep_data(sweep: Sweep, data_dir: Path | None) -> Dataset:
    """Load the dataset of a sweep.

    Raises
    ------
    InputError
        If it is not the one that the sweep was trained on.
    """
    known = sweep.config["data"]
    dataset = data.load(known["dataset"], data_dir, known["data_seed"], TableConfig().having(known))
    _check_checksum(sweep, "dataset", known["checksum"], dataset.checksum)
    return dataset


def _check_checksum(sweep: Sweep, name: str, known: str, found: str) -> None:
    if found != known:
        raise InputError(
            f"{sweep.path}: the checksum of {name} is {found[:12]}, the sweep was trained with {known[:12]}; "
            "train it again with this version and these data"
        )


def loaded_populations(dataset: Dataset, sweeps: Mapping[str, Sequence[Sweep]]) -> dict[str, Population]:
    """Prepare the reading of the networks of finished sweeps.

    Raises
    ------
    InputError
        If a model can no longer be built, or its frozen constants are others.
    """
    found = {}
    for arch, members in sweeps.items():
        first = members[0].config
        variant = Variant(ModelConfig.of(**first["model"]), OptimizerConfig(**first["optimizer"]))
        model = _build(variant, dataset)
        frozen = draw_frozen(model, variant.model.mask_seed)
        _check_checksum(members[0], "frozen", members[0].checksums["frozen"], trees.checksum(frozen))
        found[arch] = Population(variant, model, frozen, partial(_load, arch, model, frozen, members))
    return found


def _load(arch: str, model: Model, frozen: Frozen, sweeps: Sequence[Sweep], run: RunDir) -> Networks:
    parts: list[Params] = []
    names: list[str] = []
    failed: dict[str, str] = {}
    for number, sweep in enumerate(sweeps):
        networks = open_networks(sweep.path)
        if not any(str(name).startswith("position.") for name in networks):
            raise InputError(f"{sweep.path} kept no weights (--no-keep-weights); train it again with weights")
        prefix = f"{number}." if len(sweeps) > 1 else ""
        parts.append(_effective(model, tree_of(networks, "position."), frozen, {}))
        names += [f"{prefix}{seed}" for seed in range(sweep.config["num_seeds"])]
        failed |= {f"{prefix}{seed}": why for seed, why in why_failed(values_of(networks, "failed_step")).items()}
    params = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    run.identify(**{f"params_{arch}": trees.checksum(params)})
    return keep_finite(arch, trees.to_host(params), names, failed)
