"""One study: the networks of one method, from one step on. Masks, twins of every ticket, and paths between twins."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import trees
from asymjax.diagnostics.curvature import Curvature
from asymjax.errors import DivergedError
from asymjax.experiments.linear_connectivity.run import Ends, Task, matched_ends, run_paths
from asymjax.experiments.sparse_connectivity.config import Config
from asymjax.experiments.sparse_connectivity.curvature import path_curvatures, start_stability
from asymjax.experiments.sparse_connectivity.members import DENSE, Members, all_members
from asymjax.experiments.sparse_connectivity.plan import Plan, on_few
from asymjax.experiments.sparse_connectivity.sources import SOURCES, Study, failed_searches
from asymjax.lab import devices, processes
from asymjax.lab.rundir import RunDir
from asymjax.lab.sweep import REMEDY, epochs_per_chunk, run_sweep, why_failed
from asymjax.lab.tickets import Found, Search, run_starts, search_keys, search_masks, twin_keys
from asymjax.sparse.masks import Mask, apply_mask, full_mask
from asymjax.sparse.tickets import Ticket, begun_anew, make_ticket_trainer, ticket_member
from asymjax.symmetry.connectivity import finite_networks
from asymjax.train.members import initial_keys, make_trainer, steps_per_epoch, train_keys
from asymjax.types import Dataset, Frozen, Model, Params, Position, Split


class Subject(NamedTuple):
    """The networks that are studied.

    Attributes
    ----------
    name : what phases and arrays of the run begin with, ``"standard-0"``.
    arch : the method.
    step : step that tickets begin at.
    model, frozen, dataset : as in :class:`~asymjax.experiments.sparse_connectivity.sources.Study`.
    small : name -> the small sets of rows that masks are sought on.
    """

    name: str
    arch: str
    step: int
    model: Model
    frozen: Frozen
    dataset: Dataset
    small: Mapping[str, Split]


class Studied(NamedTuple):
    """What one study found, host arrays.

    Attributes
    ----------
    members : the networks.
    masks : source -> masks [level, seed, ...].
    failed : network -> why it is no network.
    pairs : kind -> int [pair, 2], see ``KINDS``.
    curves : split -> metric -> [pair, point], and
    distance : [pair], of all kinds one after the other.
    first : int [ticket] places among the pairs of twins of the first of each ticket, and
    curvature : of their paths [ticket, point]; None where it was not measured.
    stability : of the networks that tickets begin from, see ``start_stability``; None likewise.
    """

    members: Members
    masks: dict[str, Mask]
    failed: dict[int, str]
    pairs: dict[str, np.ndarray]
    curves: dict[str, Any]
    distance: np.ndarray
    first: np.ndarray
    curvature: Curvature | None
    stability: dict[str, Any] | None


class Twins(NamedTuple):
    """Networks that were trained from tickets, NumPy leaves [network, ...].

    Attributes
    ----------
    position, kept : the networks, and their masks.
    params : effective weights.
    failed : network -> why it is none.
    """

    position: Position
    kept: Mask
    params: Params
    failed: dict[int, str]


def study_networks(run: RunDir, subject: Subject, config: Config, plan: Plan, task: Task) -> Studied:
    """Find masks, train twins, and measure the paths between them, in resumable phases."""
    study = _begin(run, subject, config, plan)
    masks = {source: SOURCES[source](study) for source in config.sparse.sources}
    members = all_members(config.sparse.sources, plan.levels, config.num_seeds, config.sparse.num_twins)
    twins = _train_twins(run, subject, config, plan, study, masks, members)
    pairs = {"twins": members.pairs_of_twins(), "seeds": members.pairs_of_seeds(), "levels": members.pairs_of_levels()}
    pairs = {kind: _between(found, twins.failed) for kind, found in pairs.items()}
    if not len(pairs["twins"]):
        raise DivergedError(f"{subject.name}: of no ticket two twins are finite; {REMEDY}")
    pairs, curves, distance = _measure_paths(run, subject, config, task, twins.params, pairs)
    first = members.first_of_tickets(pairs["twins"])
    curvature, stability = None, None
    if config.sparse.num_probes:
        name, own = subject.name, (subject.model, subject.frozen, subject.dataset)
        at_start = study.starts.position
        stability = start_stability(run, f"stability-{name}", *own, at_start, config)
        chosen = pairs["twins"][first]
        curvature = path_curvatures(run, f"curvature-{name}", *own, twins.position, twins.kept, chosen, config)
    return Studied(members, masks, twins.failed, pairs, curves, distance, first, curvature, stability)


def _measure_paths(
    run: RunDir, subject: Subject, config: Config, task: Task, params: Params, pairs: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, Any], np.ndarray]:
    """Measure the paths between pairs; return them with those of aligned networks, and all curves and distances."""

    def ends(index: np.ndarray) -> Ends:
        return Ends(*(jax.tree.map(lambda leaf, i=i: leaf[index[:, i]], params) for i in (0, 1)))

    measure = partial(run_paths, frozen=subject.frozen, task=task, run_config=config.run)
    plain = measure(run, f"paths-{subject.name}", ends, np.concatenate(list(pairs.values())))
    measured, pairs = [{name: plain[name] for name in ("curves", "distance")}], dict(pairs)
    if len(pairs["seeds"]):
        matched = matched_ends(ends, subject.model.permutation_spec, subject.frozen)
        aligned = measure(run, f"aligned-{subject.name}", matched, pairs["seeds"])
        pairs["aligned"] = pairs["seeds"]
        measured.append({name: aligned[name] for name in ("curves", "distance")})
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *measured)
    return pairs, whole["curves"], whole["distance"]


def _between(pairs: np.ndarray, failed: Mapping[int, str]) -> np.ndarray:
    """Return the pairs both of whose networks are there."""
    return pairs[~np.isin(pairs, list(failed)).any(axis=1)]


def _begin(run: RunDir, subject: Subject, config: Config, plan: Plan) -> Study:
    """Train dense networks to the step that tickets begin at, and prepare the search for masks."""
    model, frozen, dataset = subject.model, subject.frozen, subject.dataset
    init_keys = initial_keys(config.seeds, config.num_seeds)
    keys = train_keys(config.seeds, config.num_seeds)
    trainer = make_trainer(model, dataset, config.optimizer)
    starts = run_starts(
        run, f"start-{subject.name}", trainer, init_keys, keys, frozen, dataset.train, subject.step, config.run
    )
    pruning = plan.pruning[subject.arch]

    @cache
    def search(rows: str) -> Found:
        is_all = rows not in subject.small
        data = dataset.train if is_all else subject.small[rows]
        optimizer = config.optimizer if is_all else on_few(config, len(data.targets))
        make = partial(make_trainer, dataset=dataset._replace(train=data), config=optimizer)
        anew = jax.vmap(lambda position: begun_anew(model, make, position, frozen))
        return search_masks(
            run,
            f"{rows}-{subject.name}",
            Search(
                make_ticket_trainer(model, make),
                search_keys(keys),
                starts if is_all else trees.to_host(anew(starts.position)),
                frozen,
                data,
                pruning,
                plan.num_passes_after(subject.step) if is_all else config.sparse.search_epochs,
                epochs_per_chunk(data, steps_per_epoch(optimizer, len(data.targets))),
            ),
            config.run,
        )

    rows = dataset.train.take(slice(config.sparse.num_train_rows))
    return Study(model, frozen, rows, dataset.task, keys, starts, pruning, plan.levels, search)


def _failed_searches(study: Study, members: Members) -> dict[int, str]:
    """Return the networks whose mask is none, and why."""
    of_sources = {source: failed_searches(study, source) for source in dict.fromkeys(members.source.tolist())}
    of_each = [of_sources[source].get(seed) for source, seed in zip(members.source, members.seed.tolist(), strict=True)]
    return {network: why for network, why in enumerate(of_each) if why}


def _train_twins(
    run: RunDir,
    subject: Subject,
    config: Config,
    plan: Plan,
    study: Study,
    masks: Mapping[str, Mask],
    members: Members,
) -> Twins:
    """Train all twins of all tickets in one program."""
    whole = jax.tree.map(np.asarray, full_mask(jax.tree.map(lambda leaf: leaf[0], study.starts.position)))

    def mask_of(source: str, level: int, seed: int) -> Mask:
        if source == DENSE:
            return whole
        return jax.tree.map(lambda leaf: leaf[plan.levels.index(level), seed], masks[source])

    of_each = map(mask_of, members.source, members.round, members.seed)
    kept = jax.tree.map(lambda *leaves: np.stack(leaves), *of_each)
    starts = jax.tree.map(lambda leaf: np.asarray(leaf)[members.seed], study.starts)
    keys = twin_keys(study.keys, config.sparse.num_twins)[members.seed, members.twin]
    make = partial(make_trainer, dataset=subject.dataset, config=config.optimizer)
    state = run_sweep(
        run,
        make_ticket_trainer(subject.model, make),
        Ticket(starts, kept),
        ticket_member(keys, kept),
        subject.frozen,
        subject.dataset.train,
        devices.place(len(members.seed), config.run.num_devices, config.run.placement),
        plan.num_passes_after(subject.step),
        run.settle(f"twins-{subject.name}-epochs", epochs_per_chunk(subject.dataset.train, plan.num_steps_per_epoch)),
        may_fail=True,
        phase=f"twins-{subject.name}",
    )
    position, failed_step = processes.gather((state.position, state.failed_step))
    failed = _failed_searches(study, members) | why_failed(failed_step)
    merge = jax.jit(lambda position, frozen: jax.lax.map(lambda one: subject.model.merge(one, frozen), position))
    position = trees.to_host(apply_mask(position, kept))  # An optimizer may move what is pruned.
    params = trees.to_host(merge(position, subject.frozen))
    lost = {int(network): "weights are not finite" for network in np.flatnonzero(~finite_networks(params))}
    return Twins(position, kept, params, lost | failed)
