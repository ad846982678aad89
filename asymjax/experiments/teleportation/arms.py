"""Arms of the comparison: what each teleports by."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from asymjax import rng
from asymjax.errors import InputError, choose
from asymjax.experiments.teleportation.config import Config, ScheduleConfig
from asymjax.models.methods import Standard
from asymjax.paths import teleport
from asymjax.paths.objectives import Objective, new_task
from asymjax.paths.teleport import Act, Teleport, Teleported, make_teleport, telling
from asymjax.symmetry.continuous import ContinuousGroup
from asymjax.types import Array, Frozen, Key, Model, Position, PyTree, Split

PLAIN = "plain"


class Orbit(NamedTuple):
    """What an arm is made of.

    Attributes
    ----------
    act, identity : the group at work.
    loss : what it keeps.
    schedule : settings of the objectives.
    """

    act: Act
    identity: PyTree
    loss: Objective
    schedule: ScheduleConfig

    @property
    def steep(self) -> Objective:
        """Minus the log of the norm of the gradient."""
        return teleport.steep(self.loss, self.schedule.max_gradient)

    @property
    def flat(self) -> Objective:
        """Mean loss at random displacements."""
        return teleport.flat(self.loss, self.schedule.radii)

    @property
    def straight(self) -> Objective:
        """Mean curvature of orbits."""
        return teleport.straight(self.act, self.identity)


OBJECTIVES: dict[str, Callable[[Orbit], Objective]] = {
    "steep": lambda orbit: orbit.steep,
    "flat": lambda orbit: orbit.flat,
    "sharp": lambda orbit: teleport.opposite(orbit.flat),
    "straight": lambda orbit: orbit.straight,
    "curved": lambda orbit: teleport.opposite(orbit.straight),
    "balanced": lambda orbit: teleport.short(),
    "random": lambda orbit: orbit.steep,
    "pseudo_inverse": lambda orbit: orbit.steep,
}
"""What falls in a teleport of each arm; of "random", what is told of it."""


def check_arms(config: Config, group: ContinuousGroup, num_rows: int) -> None:
    """Refuse arms that cannot be.

    Raises
    ------
    InputError
        If a name is unknown, there are too few rows, the network has no continuous symmetry, or the pseudo-inverse is
        asked for of a network that is not a plain perceptron.
    """
    if 2 * config.schedule.teleport_rows > num_rows:
        raise InputError(
            f"teleport_rows is {config.schedule.teleport_rows}, there are {num_rows} training rows; give "
            f"{num_rows // 2} at most"
        )
    for arm in config.schedule.arms:
        choose(OBJECTIVES, arm, "arm")
    if not group.dimension:
        raise InputError(
            f"{config.model.arch} {config.model.backbone_name} has no continuous symmetry to teleport by; take relu or "
            "leaky_relu, and --arch standard"
        )
    is_plain = config.model.backbone_name == "mlp" and config.model.backbone.norm == "none"
    if "pseudo_inverse" in config.schedule.arms and not (is_plain and isinstance(config.model.method, Standard)):
        raise InputError("pseudo_inverse takes standard perceptrons without a norm; leave that arm out")


def make_arm(arm: str, model: Model, task: str, group: ContinuousGroup, config: Config) -> Callable[[Frozen], Teleport]:
    """Return the teleport of an arm as a function of the constants of a network; its data are all training rows."""
    schedule = config.schedule

    def make(frozen: Frozen) -> Teleport:
        def jump(key: Key, position: Position, data: Split) -> Teleported:
            order = rng.permutation(rng.named_key(key, "rows"), data.targets.shape[0])
            rows, others = (data.take(part) for part in jnp.split(order[: 2 * schedule.teleport_rows], 2))
            act, identity = _action(arm, model, frozen, group, rows)
            orbit = Orbit(act, identity, new_task(model, frozen, task), schedule)
            found = _of_orbit(arm, orbit, config)(key, position, rows)
            # An action that is fitted to rows keeps these best, so the loss is told of others.
            before, after = (orbit.loss(key, at, others) for at in (position, found.position))
            return found._replace(loss_before=before, loss_after=after)

        return jump

    return make


def _action(arm: str, model: Model, frozen: Frozen, group: ContinuousGroup, rows: Split) -> tuple[Act, PyTree]:
    if arm != "pseudo_inverse":
        return teleport.action(group, model, frozen), group.identity
    layers = [path.removesuffix("/kernel") for path, layer in model.layers.items() if layer.role == "kernel"]
    return teleport.pseudo_inverse(model, frozen, layers, rows.inputs)


def _of_orbit(arm: str, orbit: Orbit, config: Config) -> Teleport:
    objective = OBJECTIVES[arm](orbit)
    if arm == "random":
        return telling(teleport.wander(orbit.act, orbit.identity, config.teleport.max_length), orbit.loss, objective)
    if arm == "balanced":
        return telling(_balance(orbit), orbit.loss, objective)
    return make_teleport(orbit.act, orbit.identity, orbit.loss, objective, config.teleport)


def _balance(orbit: Orbit) -> Callable[[Key, Position, Any], tuple[Position, Array]]:
    return lambda key, position, data: (teleport.balance(orbit.act, orbit.identity, position), jnp.full((), jnp.nan))
