"""Tables and sentences of teleportation."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from asymjax.experiments.linear_connectivity.table import interval
from asymjax.experiments.teleportation.figures import TeleportRun, steady_seconds
from asymjax.report.table import Table, number

NOTE = (
    "Means over networks plus or minus half the 95 % interval. Epochs: to the last training loss of the plain network "
    "of the same seed; never: networks that do not come there, which count with all epochs. Seconds: of one network "
    "on one device, without compilation, arms in turn epoch by epoch; epochs without teleports count by their median."
)
END_NOTE = (
    "Differences from the plain network of the same seed, means over networks plus or minus half the 95 % interval; of "
    "plain training the values themselves. Rise: of the loss at random displacements. Trace (Hutchinson) and largest "
    "eigenvalue (Lanczos) of the Hessian of the training loss. Bend: curvature of random curves exp(tM).w."
)
TELEPORT_NOTE = (
    "On the rows that a teleport looks at. Fall: of the objective, for steep minus the log of the gradient's norm, so "
    "that 0.69 is twice the gradient. Length: sum of the largest exponents."
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
    if speed is None:
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
                str(speed.get("num_never", "-")),
                number(seconds_to(run, arm), ".3g"),
                number(float(seconds.sum()), ".3g"),
                interval(entry["measures"].get("train_loss")),
                str(len(entry["failed"])),
            ]
        )
    columns = ["kind", "epochs to plain's end", "never", "seconds to it", "seconds in all", "train loss", "diverged"]
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
    return [_verdict(run, arm) for arm in run.arms[1:]] + _of_curvature(run)


def _verdict(run: TeleportRun, arm: str) -> str:
    entry, plain = run.summary["arms"][arm], run.summary["arms"]["plain"]
    num_seeds, num_failed = run.arrays["losses"].shape[1], len(entry["failed"])
    if "speed" not in entry or entry["speed"]["epochs"]["low"] is None:
        return f"{arm}: {num_failed} of {num_seeds} networks diverged, so that nothing can be said of the others."
    epochs, theirs = entry["speed"]["epochs"], plain["speed"]["epochs"]["mean"]
    pace = "sooner" if epochs["high"] < theirs else "no sooner, by 95 % intervals"
    seconds, plain_seconds = seconds_to(run, arm), seconds_to(run, "plain")
    by_clock = "less time" if (seconds or 0) < (plain_seconds or 0) else "more time"
    diverged = f" ({num_failed} of {num_seeds} diverged)" if num_failed else ""
    return (
        f"{arm}{diverged}: where plain training ends {pace} (epoch {epochs['mean']:.1f} instead of {theirs:.1f}), in "
        f"{by_clock} ({seconds:.3g} s instead of {plain_seconds:.3g} s); {_generalises(entry)}; a teleport moves the "
        f"loss by {entry['teleports']['largest_loss_change']:.1g} at most."
    )


def _generalises(entry: Mapping[str, Any]) -> str:
    """Return how the test loss compares with that of plain twins."""
    found = entry["against_plain"]["test_loss"]
    if found["high"] < 0:
        return f"the test loss is lower by {-found['mean']:.3g}"
    return f"the test loss is higher by {found['mean']:.3g}" if found["low"] > 0 else "the test loss is not told apart"


def _of_curvature(run: TeleportRun) -> list[str]:
    told = {
        name: found["against_plain"] for name, found in run.summary["correlations"].items() if found["against_plain"]
    }
    if not told:
        return []
    words = ", ".join(f"{TITLES.get(name, name)} {value:+.2f}" for name, value in told.items())
    return [f"Rank correlation with the test loss, of differences from plain twins: {words}."]
