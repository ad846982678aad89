"""Tables and sentences of teleportation."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from asymjax.experiments.linear_connectivity.table import interval
from asymjax.experiments.teleportation.figures import TeleportRun, steady_seconds
from asymjax.report.table import Table, number

NOTE = (
    "Means over networks plus or minus half the 95 % interval. Epochs: to the last training loss of the plain network "
    "of the same seed; sooner by: than that network itself, paired by seed; never: networks that do not come there, "
    "which are left out of both. Seconds: point estimates of one run, of one network on one device, without "
    "compilation, arms in turn epoch by epoch; epochs without teleports count by their median."
)
END_NOTE = (
    "Differences from the plain network of the same seed, means over networks plus or minus half the 95 % interval; of "
    "plain training the values themselves. Rise: of the loss at random displacements. Trace (Hutchinson) and largest "
    "eigenvalue (Lanczos) of the Hessian of the training loss. Bend: curvature of random curves exp(tM).w."
)
TELEPORT_NOTE = (
    "Change of the loss: on as many rows that the teleport did not look at. Fall: of the objective, of steep minus the "
    "log of the norm of the gradient, so that 0.69 is twice the gradient. Length: sum of the largest exponents."
)
ENDS = {
    "test_loss": ".4f",
    "test_accuracy": ".4f",
    "sharpness": ".4f",
    "largest": ".3g",
    "trace": ".3g",
    "orbit_curvature": ".3g",
}
TITLES = {"test_loss": "test loss", "test_accuracy": "test accuracy", "sharpness": "rise"}
TITLES |= {"largest": "largest eigenvalue", "orbit_curvature": "bend of orbits"}


def teleportation_tables(run: TeleportRun) -> list[Table]:
    """Return speed, what the ends are like, and what teleports did."""
    return [_speed(run), _ends(run), _teleports(run)]


def seconds_to(run: TeleportRun, arm: str) -> float | None:
    """Return the seconds of one network to the mean epoch at which it is where its plain twin ends."""
    speed = run.summary["arms"][arm].get("speed")
    if speed is None or speed["epochs"] is None:
        return None
    seconds = np.concatenate([[0.0], np.cumsum(steady_seconds(run)[run.arms.index(arm)])])
    return float(np.interp(speed["epochs"]["mean"], np.arange(len(seconds)), seconds))


def _speed(run: TeleportRun) -> Table:
    rows = []
    for place, arm in enumerate(run.arms):
        entry, seconds = run.summary["arms"][arm], steady_seconds(run)[place]
        speed: Mapping[str, Any] = entry.get("speed") or {}
        rows.append(
            [
                arm,
                interval(speed.get("epochs"), ".2f"),
                interval(speed.get("sooner"), ".2f"),
                str(speed.get("num_never", "-")),
                number(seconds_to(run, arm), ".3g"),
                number(float(seconds.sum()), ".3g"),
                interval(entry["measures"].get("train_loss")),
                str(len(entry["failed"])),
            ]
        )
    columns = [
        "kind",
        "epochs to plain's end",
        "sooner by",
        "never",
        "seconds to it",
        "seconds in all",
        "train loss",
        "diverged",
    ]
    return Table("How soon networks are where plain training ends", NOTE, columns, rows)


def _ends(run: TeleportRun) -> Table:
    told = {arm: entry["measures" if arm == "plain" else "against_plain"] for arm, entry in run.summary["arms"].items()}
    names = [name for name in ENDS if name in told["plain"]]
    rows = [[arm, *(interval(told[arm].get(name), ENDS[name]) for name in names)] for arm in run.arms]
    return Table("At the end", END_NOTE, ["kind", *(TITLES.get(name, name) for name in names)], rows)


def _teleports(run: TeleportRun) -> Table:
    rows = []
    for arm in run.arms[1:]:
        found: Mapping[str, Any] = run.summary["arms"][arm].get("teleports") or {}
        moved = (number(found.get(name), ".2g") for name in ("largest_loss_change", "mean_loss_change"))
        rows.append([arm, *moved, interval(found.get("fall"), ".3f"), interval(found.get("length"), ".3f")])
    columns = ["kind", "largest change of the loss", "mean change", "fall", "length"]
    return Table("What teleports did", TELEPORT_NOTE, columns, rows)


def teleportation_words(run: TeleportRun) -> list[str]:
    """Return in sentences what a run found."""
    return [sentence for arm in run.arms[1:] for sentence in (_verdict(run, arm), *_of_curvature(run, arm))]


def _verdict(run: TeleportRun, arm: str) -> str:
    entry, num_seeds = run.summary["arms"][arm], run.arrays["losses"].shape[1]
    if num_seeds == 1:
        return f"{arm}: of one seed nothing can be said; give --num-seeds."
    diverged = f"{arm}: {len(entry['failed'])} of {num_seeds} networks diverged; " if entry["failed"] else f"{arm}: "
    speed = entry.get("speed")
    if speed is None or entry["against_plain"]["test_loss"]["low"] is None:
        return f"{diverged}too few are left to be compared."
    moved = entry["teleports"]["largest_loss_change"]
    return (
        f"{diverged}{_pace(run, arm, speed)}; {_generalises(entry)}; a teleport moves the loss on other rows by "
        f"{moved:.1g} at most."
    )


def _pace(run: TeleportRun, arm: str, speed: Mapping[str, Any]) -> str:
    """Return how soon networks are where their plain twins end; nothing of those that stay behind."""
    if speed["num_never"]:
        lost = {seed for one in (arm, "plain") for seed in run.summary["arms"][one]["failed"]}
        num_left = run.arrays["losses"].shape[1] - len(lost)
        return f"{speed['num_never']} of {num_left} networks never come to the loss at which plain training ends"
    sooner = speed["sooner"]
    if sooner["low"] > 0:
        pace = f"the loss of plain training's end comes {sooner['mean']:.1f} epochs sooner"
    elif sooner["high"] < 0:
        pace = f"the loss of plain training's end comes {-sooner['mean']:.1f} epochs later"
    else:
        pace = "when the loss of plain training's end comes is not told apart"
    return (
        f"{pace}, after {seconds_to(run, arm):.3g} s a network instead of {seconds_to(run, 'plain'):.3g} s in this run"
    )


def _generalises(entry: Mapping[str, Any]) -> str:
    """Return how the test loss compares with that of plain twins."""
    found = entry["against_plain"]["test_loss"]
    if found["high"] < 0:
        return f"the test loss is lower by {-found['mean']:.3g}"
    return f"the test loss is higher by {found['mean']:.3g}" if found["low"] > 0 else "the test loss is not told apart"


def _of_curvature(run: TeleportRun, arm: str) -> list[str]:
    """Return how differences in curvature go with those in the test loss, where the interval leaves zero out."""
    found = run.summary["arms"][arm].get("correlations") or {}
    sure = {name: one for name, one in found.items() if one and (one["low"] > 0 or one["high"] < 0)}
    if not any(found.values()):
        return []
    if not sure:
        return [f"{arm}: no curvature goes with the test loss, by rank correlations of differences from plain twins."]
    words = (
        f"{TITLES.get(name, name)} {one['value']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]"
        for name, one in sure.items()
    )
    return [f"{arm}: rank correlation with the test loss, of differences from plain twins: {', '.join(words)}."]
