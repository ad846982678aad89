"""Tables of metanetworks: what each predicts of each zoo, what the zoos are, and the published cells."""

from collections.abc import Mapping
from typing import Any

from asymjax.experiments.linear_connectivity.table import interval
from asymjax.experiments.metanetworks.figures import OTHER_ROWS, MetanetRun, has_widened
from asymjax.report.table import Table, number

SCORES = {
    "tau": ("Kendall's tau-b", "Order alone, -1 to 1."),
    "r2": ("R2", "1 less squared error over the variance of the targets; differs with the spread of a zoo's targets."),
    "r2_recalibrated": ("R2, recalibrated", "After the best affine map of the predictions: what a wrong scale hides."),
    "error": ("Mean absolute error", "In units of the target."),
}
COMPARABLE = {
    "tau_within": (
        "Kendall's tau-b, recipes alike",
        "Over pairs of networks alone whose recipes have each number in the same third: without what recipes tell.",
    ),
    "tau_matched": (
        "Kendall's tau-b, targets alike",
        "Of test networks drawn so that the targets of all zoos are spread alike: to be compared between zoos.",
    ),
}
"""Scores that runs have since zoos are compared by them, and not of every zoo."""
SEEDS = (
    "Means over metanetworks of several seeds ± half their 95 % interval (t), on test networks; zoo and split are one."
)
PUBLISHED = {
    ("flat_mlp", "standard"): (".330 ± .04", ".389 ± .03"),
    ("dmc", "standard"): (".950 ± .01", ".787 ± .02"),
    ("deepsets", "standard"): (".855 ± .01", ".617 ± .03"),
    ("statnn", "standard"): (".976 ± .00", ".866 ± .00"),
    ("flat_mlp", "small_standard"): (".348 ± .07", ".400 ± .02"),
    ("dmc", "small_standard"): (".943 ± .01", ".779 ± .01"),
    ("deepsets", "small_standard"): (".849 ± .01", ".627 ± .01"),
    ("statnn", "small_standard"): (".976 ± .00", ".869 ± .00"),
    ("flat_mlp", "w_asym"): (".594 ± .12", ".864 ± .01"),
    ("dmc", "w_asym"): (".967 ± .01", ".911 ± .01"),
    ("deepsets", "w_asym"): (".936 ± .00", ".858 ± .00"),
    ("statnn", "w_asym"): (".978 ± .00", ".935 ± .01"),
}
"""R2 and tau of Lim et al. (2024), means and standard deviations of 5 runs: ResNet8 on CIFAR-10, 10,000 networks."""


def metanet_tables(run: MetanetRun) -> list[Table]:
    """Compare what metanetworks predict of zoos."""
    tables = [
        _zoo_table(run),
        *(score_table(run, name, title, f"{note} {SEEDS}") for name, (title, note) in _scores(run).items()),
    ]
    tables += [_widened_table(run, zoo) for zoo in run.zoos] if has_widened(run) else []
    return [*tables, _published_table(run)] if _published_rows(run) else tables


def _zoo_table(run: MetanetRun) -> Table:
    def row(name: str, zoo: Mapping[str, Any]) -> list[str]:
        target, parts, rows = zoo["target"], zoo["num_parts"], zoo["other_rows"]
        counts = (zoo["num_networks"], len(zoo["excluded"]), zoo["num_trainable"])
        split = " / ".join(f"{parts[side]:,}" for side in ("train", "validation", "test"))
        spread = " ".join(f"{value:.3f}" for value in target["quantiles"])
        cells = [f"{target['mean']:.3f}", f"{target['std']:.3f}", spread, number(rows and rows["tau"], ".3f")]
        return [name, *(f"{count:,}" for count in counts), split, *cells]

    note = (
        "Set apart: networks that are not finite, and the reference of barriers. Quantiles: least, quartiles, largest. "
        "Other rows: tau of accuracy on the validation rows, how well accuracy on some rows is known from that on "
        "others."
    )
    columns = ["kind", "networks", "set apart", "trainable", "training / validation / test"]
    columns += ["mean", "std", "quantiles", OTHER_ROWS]
    return Table("Zoos", note, columns, [row(name, zoo) for name, zoo in run.zoos.items()])


def _scores(run: MetanetRun) -> dict[str, tuple[str, str]]:
    """Return the scores that any metanetwork of a run has, with title and note."""
    known = set().union(*(cell["scores"] for cell in run.cells))
    return SCORES | {name: told for name, told in COMPARABLE.items() if name in known}


def score_table(run: MetanetRun, score: str, title: str, note: str) -> Table:
    """Return one score of every metanetwork on every zoo."""
    found = {(cell["metanet"], cell["num_train"], cell["zoo"]): cell["scores"].get(score) for cell in run.cells}
    rows = list(dict.fromkeys((cell["metanet"], cell["num_train"]) for cell in run.cells))
    cells = [
        [metanet, f"{count:,}", *(interval(found.get((metanet, count, zoo)), ".3f") for zoo in run.zoos)]
        for metanet, count in rows
    ]
    return Table(title, note, ["kind", "training networks", *run.zoos], cells)


def _widened_table(run: MetanetRun, zoo: str) -> Table:
    """Compare what metanetworks say of networks and of wider ones of the same function."""

    def row(cell: Mapping[str, Any], wider: Mapping[str, Any]) -> list[str]:
        found, before = wider.get("scores", {}), cell["scores"]["tau"]["mean"]
        means = [number(found[name]["mean"] if found else None, ".3f") for name in ("r2", "error")]
        change = number(found["change"]["mean"] if found else None, ".2g")
        kind = [cell["metanet"], f"{cell['num_train']:,}", f"{wider['width']} {wider['way']}", f"{before:.3f}"]
        return [*kind, interval(found.get("tau"), ".3f"), *means, change]

    note = (
        "Test networks whose hidden layers were made so wide without a change of their function, by splitting units or "
        "by units that feed nothing (idle). Change: mean absolute difference of the predictions for a network before "
        f"and after, 0 for what sees the function alone. A dash: cannot be read. {SEEDS}"
    )
    columns = ["kind", "training networks", "wider", "tau before", "tau", "R2", "error", "change"]
    rows = [row(cell, wider) for cell in run.cells if cell["zoo"] == zoo for wider in cell["widened"]]
    return Table(f"Wider networks: {zoo}", note, columns, rows)


def _unread(run: MetanetRun) -> list[str]:
    """Say which metanetworks cannot read wider networks, and why."""
    found = {
        f"{cell['zoo']}: {cell['metanet']} cannot read networks of width {wider['width']}: {wider['reason']}."
        for cell in run.cells
        for wider in cell["widened"]
        if "reason" in wider
    }
    return sorted(found)


def _published_rows(run: MetanetRun) -> list[list[str]]:
    if run.record["config"]["target"] != "test.accuracy":
        return []
    return [
        [
            cell["zoo"],
            cell["metanet"],
            interval(cell["scores"]["r2"], ".3f"),
            r2,
            interval(cell["scores"]["tau"], ".3f"),
            tau,
        ]
        for cell in run.cells
        if (published := PUBLISHED.get((cell["metanet"], cell["zoo"])))
        for r2, tau in [published]
    ]


def _published_table(run: MetanetRun) -> Table:
    note = (
        "Lim et al. (2024), table of metanetworks: 10,000 ResNet8 of CIFAR-10 a kind, means and standard deviations of "
        "5 runs; other networks and data than these."
    )
    columns = ["kind", "metanetwork", "R2", "published", "tau", "published"]
    return Table("Beside the paper", note, columns, _published_rows(run))


def words(run: MetanetRun) -> list[str]:
    """Say what an invariant metanetwork has over a flat one, zoo by zoo, and who cannot read wider networks.

    The first is the symmetry that a learner sees; nothing of barriers as networks lie, which differ from order to order
    of the units.
    """
    return [*_gaps(run), *_unread(run)]


def _gaps(run: MetanetRun) -> list[str]:
    """Return the first of these."""
    if run.record["config"]["target"] == "barrier":
        return []
    tau = {(cell["metanet"], cell["num_train"], cell["zoo"]): cell["scores"]["tau"]["mean"] for cell in run.cells}
    largest = {zoo: max(cell["num_train"] for cell in run.cells if cell["zoo"] == zoo) for zoo in run.zoos}
    return [
        f"{zoo}: tau is {tau['hnp', count, zoo]:.3f} by hnp and {tau['flat_mlp', count, zoo]:.3f} by flat_mlp; "
        + _reason(tau["hnp", count, zoo] - tau["flat_mlp", count, zoo], run.zoos[zoo]["is_permutable"])
        for zoo, count in largest.items()
        if {("hnp", count, zoo), ("flat_mlp", count, zoo)} <= tau.keys()
    ]


def _reason(difference: float, is_permutable: bool) -> str:
    if not is_permutable:
        return "units may not be permuted, so that both are perceptrons on the weights."
    return f"the difference, {difference:.3f}, is what the order of units costs a learner that does not know of it."
