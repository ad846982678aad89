"""Tables and sentences of invariant paths."""

from collections.abc import Mapping, Sequence
from typing import Any

from asymjax.experiments.invariant_paths.figures import PathRun, paths_of, robust_ends, sparse_ends
from asymjax.experiments.linear_connectivity.table import interval
from asymjax.report.table import Table, number

NOTE = (
    "Means over networks plus or minus half the 95 % interval (Student's t), at the end. All arms of a method begin at "
    "the same networks and take as many steps, batches of as many rows where they take any; not as much work, for a "
    "step of a path also takes gradients of the outputs on replayed inputs. What paths are compared with keeps its "
    "learning rate constant, and only paths anneal."
)
WORK_NOTE = (
    "Row gradients: backward passes of single rows, of each network in all steps; for what falls, and on paths for "
    "what stays: one for each output on each replayed input in a Jacobian, one for each input of the penalty; those of "
    "conjugate gradients are not counted. Seconds: of all networks of the arm, without compilation, on this machine."
)
CONTINUAL_NOTE = (
    "Elastic weights (ewc): every strength that was tried, none of them chosen; to choose one by these rows would "
    "flatter it. " + NOTE
)
DRIFT_NOTE = (
    "At the end of each arm. Replay, held out: mean Bhattacharyya distance of the probabilities to those at the start; "
    "change: the largest of an output on replayed inputs. Length: sum of the steps; metric length: sum of the lengths "
    "that the outputs on replayed inputs give to them, to first order; means over networks. {freedom}, the least of "
    "all steps. " + NOTE
)
FREEDOM = {
    "exact": ("freedom", "Freedom: the share of the objective's gradient that the metric leaves"),
    "layer": ("freedom", "Freedom: the share of the objective's gradient that the inputs of layers leave"),
    "penalty": ("cosine", "Cosine: between a step and minus the objective's gradient"),
}
"""By driver, what a column is called and says."""
CURVATURE_NOTE = (
    "Of the loss on the rows that networks were trained on first: trace (Hutchinson) and largest eigenvalue (Lanczos) "
    "of the Hessian, the same rows and probes for all."
)
NULL_NOTE = (
    "Directions along which the outputs on replayed inputs do not change, where the first path begins: of the "
    "continuous symmetries that the method leaves (architectural), of these weights at any input (hidden), and of the "
    "replayed inputs alone (data); rank: directions that change them."
)
SPARSE_NOTE = (
    "Test accuracy of networks with so many zeros among all parameters, biases included; at once: of those at the "
    "start. Masked: descents of what magnitudes leave, of the loss on training rows with labels, or of the mean "
    "Bhattacharyya distance to the start on replayed inputs, which has no labels, as paths have none. " + NOTE
)
GAP_NOTE = (
    "Gap: distance between a point and the sparse network that stands for it. Swaps: entries that became zero between "
    "one point and the next in place of others, all points together. " + NOTE
)
EQUAL_NOTE = (
    "Where the mean Bhattacharyya distance on held-out inputs of old classes first reaches a level, on straight lines "
    "between points. Paths that came to rest are left out; differences are of seeds that both methods have. " + NOTE
)
WAY_NOTE = (
    "Rise: the largest value on the way over the mean of both ends (Frankle et al. 2020). The path is walked as far as "
    "its steps reach; what is left is a straight line. Left: distance from the end of the path to its target, as a "
    "share of that at the start. Aligned: after permuting the units of the target; where weights or gates are fixed, "
    "that line leaves the set of the model. " + NOTE
)
ATTACK_NOTE = (
    "Test accuracy as they are (clean), under attacks of radius {radius:g} in standardised units on the whole "
    "prediction (fgsm: one step; pgd: {attack_steps} steps), and on corrupted inputs. " + NOTE
)


def path_tables(run: PathRun) -> list[Table]:
    """Return the tables of a run."""
    tables = [*headline(run), _drifts(run), _work(run)]
    tables += [_gaps(run)] if run.objective == "sparse" else []
    tables += [_curvatures(run)] if any(method["curvature"] for method in run.methods.values()) else []
    tables += [_null_spaces(run)] if any(method["null_space"] for method in run.methods.values()) else []
    return tables + ([_at_equal_drift(run)] if run.summary["between_methods"] else [])


def headline(run: PathRun) -> list[Table]:
    """Return the table of what the objective asks for."""
    return [TABLES[run.objective](run)]


def _arm_rows(run: PathRun, names: Sequence[str]) -> list[list[str]]:
    return [
        [arch, arm.replace("_", " "), *(interval(entry["end"].get(name), ".3f") for name in names)]
        for arch, method in run.methods.items()
        for arm, entry in method["arms"].items()
    ]


def _continual(run: PathRun) -> Table:
    names = ("old.accuracy", "new.accuracy", "average.accuracy", "forgetting")
    columns = ["kind", "arm", "old classes", "new classes", "average", "forgetting"]
    return Table("Accuracy on old and new classes", CONTINUAL_NOTE, columns, _arm_rows(run, names))


def _sparse(run: PathRun) -> Table:
    rows = []
    for arch, method in run.methods.items():
        for share, kinds in sparse_ends(method).items():
            dense = method["arms"][f"path-{share:g}"]["curves"]["test.accuracy"][0]
            found = [dense, *(kinds.get(kind) for kind in ("path", "masked", "distilled", "one_shot"))]
            rows.append([arch, f"{share:g}", *(interval(one, ".3f") for one in found)])
    columns = ["kind", "zeros", "dense", "path", "masked, labels", "masked, no labels", "at once"]
    return Table("Accuracy of sparse networks", SPARSE_NOTE, columns, rows)


def _gaps(run: PathRun) -> Table:
    rows = []
    for arch, method in run.methods.items():
        for name, arm in paths_of(method).items():
            swaps = sum(point["mean"] for point in arm["curves"]["swaps"])
            first, end = arm["curves"]["gap"][0], arm["end"]
            cells = [interval(one, ".3f") for one in (first, end["gap"], end["test.accuracy"])]
            rows.append([arch, name.partition("-")[2], *cells, number(swaps, ".0f")])
    columns = ["kind", "zeros", "gap at the start", "gap at the end", "accuracy before zeros are set", "swaps"]
    return Table("How near paths come to sparse networks", GAP_NOTE, columns, rows)


def _attacked(run: PathRun) -> Table:
    rows, columns = [], ["kind", "arm"]
    for arch, method in run.methods.items():
        kinds = method["ensembles"] if run.objective == "diverse" else robust_ends(method)
        names = [name for name in next(iter(kinds.values())) if name.endswith("accuracy")]
        more = ["nll", "disagreement"] if run.objective == "diverse" else []
        words = list(map(_attack, names))
        columns = ["kind", "arm", *words, *more]
        rows += [
            [arch, kind.replace("_", " "), *(interval(scores[name], ".3f") for name in (*names, *more))]
            for kind, scores in kinds.items()
        ]
    name = "Ensembles" if run.objective == "diverse" else "Networks under attack"
    return Table(name, ATTACK_NOTE.format(**run.study), columns, rows)


def _joined(run: PathRun) -> Table:
    rows = []
    for arch, method in run.methods.items():
        for name in ("path", "straight", "aligned"):
            cells = [interval(method["ways"][name][measure], ".4f") for measure in RISING]
            left = interval(method["ways"]["left"], ".3f") if name == "path" else "-"
            rows.append([arch, name, *cells, left])
    columns = ["kind", "way", "rise of train loss", "rise of test loss", "rise of test error", "left"]
    return Table("Ways between two optima", WAY_NOTE, columns, rows)


RISING = ("train.loss", "test.loss", "test.accuracy")
TABLES = {"continual": _continual, "sparse": _sparse, "diverse": _attacked, "robust": _attacked, "join": _joined}


def _drifts(run: PathRun) -> Table:
    names = ("drift.replay_max", "length", "metric_length", "distance")
    rows = []
    for arch, method in run.methods.items():
        for arm, entry in method["arms"].items():
            least = entry["freedom"]["least"] if entry["is_path"] else []
            drifts = [interval(entry["end"].get(name), ".4f") for name in ("drift.replay", "drift.held_out")]
            cells = drifts + [number(entry["end"].get(name, {}).get("mean"), ".3g") for name in names]
            rows.append([f"{arch}, {arm}".replace("_", " "), *cells, number(min(least), ".2f") if least else "-"])
    word, said = FREEDOM[run.settings["driver"]]
    columns = ["kind", "replay", "held out", "change", "length", "metric length", "from the start", word]
    return Table("How far function and weights went", DRIFT_NOTE.format(freedom=said), columns, rows)


def _work(run: PathRun) -> Table:
    seconds, rows = run.summary.get("seconds", {}), []
    for arch, method in run.methods.items():
        for arm, entry in method["arms"].items():
            counts = [entry.get("row_gradients", {}).get(of) for of in ("objective", "replay")]
            cells = ["-" if count is None else f"{count:,}" for count in counts]
            rows.append([arch, arm.replace("_", " "), *cells, number(seconds.get(f"walk-{arch}-{arm}"), ".3g")])
    columns = ["kind", "arm", "row gradients of what falls", "of what stays", "seconds"]
    return Table("What arms take", WORK_NOTE, columns, rows)


def _curvatures(run: PathRun) -> Table:
    rows = [
        [arch, name, str(at), interval(found["trace"][i], ".3g"), interval(found["largest"][i], ".3g")]
        for arch, method in run.methods.items()
        for name, found in method["curvature"].items()
        for i, at in enumerate(method["curvature_at"][name])
    ]
    return Table("Curvature along paths", CURVATURE_NOTE, ["kind", "arm", "step", "trace", "largest"], rows)


def _null_spaces(run: PathRun) -> Table:
    names = ("architectural", "hidden", "data", "rank")
    rows = [
        [arch, f"{method['num_parameters']:,}", *(f"{method['null_space'][name]:,}" for name in names)]
        for arch, method in run.methods.items()
        if method["null_space"]
    ]
    return Table("Null space of the metric", NULL_NOTE, ["kind", "parameters", *names], rows)


def _at_equal_drift(run: PathRun) -> Table:
    between = run.summary["between_methods"]
    rows = [
        [
            arch,
            number(level, ".4f"),
            *(interval(found[name][i], ".3f") for name in ("old", "new", "forgetting", "length")),
        ]
        for arch, found in between["methods"].items()
        for i, level in enumerate(between["levels"])
    ]
    columns = ["kind", "drift", "old classes", "new classes", "forgetting", "length"]
    return Table("Paths at equal drift", EQUAL_NOTE, columns, rows)


# Words -----------------------------------------------------------------------------------------------------------


def path_words(run: PathRun) -> list[str]:
    """Return what the tables come to: how paths compare with each arm, and what failed or did not move."""
    sentences = []
    for arch, method in run.methods.items():
        sentences += WORDS[run.objective](run, arch, method) + _warnings(run, arch, method)
    return sentences + _equal_drift_words(run)


def _equal_drift_words(run: PathRun) -> list[str]:
    """Say how methods compare with the first where their paths have drifted as far as all of them do."""
    between = run.summary["between_methods"]
    if not between:
        return []
    first, *others = between["methods"]
    words = {"forgetting": ("less", "more"), "new": ("lower", "higher"), "length": ("shorter", "longer")}
    sentences = []
    for arch in others:
        last = {name: found[-1] for name, found in between["methods"][arch].items()}
        told = [
            f"{words_of(last[name]['difference'], *said)} in {name.replace('new', 'accuracy on new classes')}, "
            f"{interval(last[name], '.3f')}"
            for name, said in words.items()
        ]
        level = between["levels"][-1]
        sentences.append(f"{arch} beside {first} at a held-out drift of {level:.3f}: {'; '.join(told)}.")
    return sentences


def words_of(difference: Mapping[str, Any] | None, below: str, above: str) -> str:
    """Say on which side of zero a 95 % interval lies."""
    if not difference or difference["low"] is None:
        return "not compared"
    return below if difference["high"] < 0 else above if difference["low"] > 0 else "not told apart"


def verdict(difference: Mapping[str, Any] | None, more: str, less: str) -> str:
    """Say how the path compares, from the 95 % interval of what it is compared with minus the path."""
    if not difference or difference["low"] is None:
        return "of one network, beside"
    if difference["low"] > 0:
        return less
    return more if difference["high"] < 0 else "not told apart from"


def _attack(measure: str) -> str:
    """Return what inputs met, of the name of an accuracy."""
    return measure.rpartition(".")[0].removeprefix("test") or "clean"


def _beside(measure: str, kind: str, path: Any, name: str, found: Mapping[str, Any]) -> str:
    said = verdict(found.get("difference"), "above", "below")
    return f"{measure}: {kind} {interval(path, '.3f')}, {said} {name} {interval(found, '.3f')}"


def _continual_words(run: PathRun, arch: str, method: Mapping[str, Any]) -> list[str]:
    path = method["arms"]["path"]["end"]
    return [
        f"{_beside(f'{arch}, old classes', 'path', path['old.accuracy'], name, arm['end']['old.accuracy'])}; "
        f"new classes: {interval(path['new.accuracy'], '.3f')}, "
        f"{verdict(arm['end']['new.accuracy']['difference'], 'above', 'below')} "
        f"{interval(arm['end']['new.accuracy'], '.3f')}; average "
        f"{verdict(arm['end']['average.accuracy']['difference'], 'above', 'below')}."
        for name, arm in method["arms"].items()
        if arm["beside"] and arm["end"]
    ]


def _sparse_words(run: PathRun, arch: str, method: Mapping[str, Any]) -> list[str]:
    sentences = []
    for share, kinds in sparse_ends(method).items():
        for kind, name in {"masked": "masked fine-tuning", "distilled": "masked training without labels"}.items():
            if kind in kinds:
                said = _beside(f"{arch}, {share:g} zeros", "path", kinds["path"], name, kinds[kind])
                sentences.append(f"{said}; at once {interval(kinds['one_shot'], '.3f')}.")
    return sentences


def _ensemble_words(run: PathRun, arch: str, method: Mapping[str, Any]) -> list[str]:
    found = method["ensembles"]
    sentences = []
    for name, along in found["path"].items():
        if name.endswith("accuracy"):
            said = {"above": "below", "below": "above"}  # The difference is that of the path to the deep ensemble.
            told = verdict(along["difference"], "above", "below")
            word = _attack(name)
            sentences.append(
                f"{arch}, {word}: ensemble along a path {interval(along, '.3f')}, {said.get(told, told)} the deep "
                f"ensemble {interval(found['deep'][name], '.3f')}; single networks "
                f"{interval(found['single'][name], '.3f')}."
            )
    return sentences


def _robust_words(run: PathRun, arch: str, method: Mapping[str, Any]) -> list[str]:
    path = method["arms"]["path"]
    if not path["end"]:
        return []
    measures = ("test.accuracy", "fgsm.accuracy", "pgd.accuracy")
    told = [
        f"{_attack(name)} {interval(path['curves'][name][0], '.3f')} at the start, "
        f"{interval(path['end'][name], '.3f')} at the end"
        for name in measures
    ]
    sentences = [f"{arch}, accuracy along the path: {'; '.join(told)}."]
    for name, arm in method["arms"].items():
        if arm["beside"] and arm["end"]:
            said = [
                _beside(_attack(measure), "path", path["end"][measure], name.replace("_", " "), arm["end"][measure])
                for measure in measures
            ]
            sentences.append(f"{arch}: {'; '.join(said)}.")
    return sentences


def _join_words(run: PathRun, arch: str, method: Mapping[str, Any]) -> list[str]:
    found = {name: method["ways"][name]["test.loss"] for name in ("path", "straight", "aligned")}
    told = [
        f"{verdict(found[name]['difference'], 'above', 'below')} the {words} {interval(found[name], '.3f')}"
        for name, words in {"straight": "straight line", "aligned": "aligned line"}.items()
    ]
    left = method["ways"]["left"]
    return [
        f"{arch}: the test loss rises on the path by {interval(found['path'], '.3f')}, {', '.join(told)}; "
        f"{interval(left, '.3f')} of the distance is left at its end."
    ]


WORDS = {
    "continual": _continual_words,
    "sparse": _sparse_words,
    "diverse": _ensemble_words,
    "robust": _robust_words,
    "join": _join_words,
}


def _warnings(run: PathRun, arch: str, method: Mapping[str, Any]) -> list[str]:
    """Name arms that failed, did not move, or had too few steps to arrive."""
    sentences = []
    for name, arm in method["arms"].items():
        for member, why in arm["failed"].items():
            sentences.append(f"warning: {arch}, {name}, network {member} is left out: {why}")
        if arm.get("stuck"):
            members = ", ".join(map(str, arm["stuck"]))
            sentences.append(
                f"{arch}, {name}: no freedom: the outputs on {run.study['num_replay']} replayed inputs leave no "
                f"direction, and paths {members} came to rest."
            )
    for name, arm in paths_of(method).items():
        gap = arm["curves"].get("gap", [{"mean": 0.0}])[0]["mean"]
        if gap > arm["budget"]:
            sentences.append(
                f"{arch}, {name}: the steps add up to {arm['budget']:.3g}, and the sparse network was {gap:.3g} away "
                "at the start; give more or longer steps."
            )
    return sentences
