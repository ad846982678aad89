"""Put two result files of one benchmark side by side, row by row.

    python benchmarks/compare.py results/hmc.json /tmp/hmc.json

Rows belong together that agree in all their names and counts; of the other numbers the ratio, second over first, is
shown. Two files from two runs of a machine that drifts say less than two cases in one run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.table
import tyro
from rich.console import Console

from asymjax.errors import InputError


@dataclass(frozen=True)
class Config:
    """What is compared."""

    first: tyro.conf.Positional[Path]
    """Results to compare with."""
    second: tyro.conf.Positional[Path]
    """Results that are divided by the first."""


def read_rows(path: Path) -> tuple[dict[tuple, dict[str, float]], dict[str, Any]]:
    """Return the numbers of each row by what the row is, and where they come from.

    Raises
    ------
    InputError
        If the file is not one that a benchmark wrote.
    """
    try:
        content = json.loads(path.read_text())
        rows, origin = content["rows"], content["provenance"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a result file of a benchmark: {error!r}") from error
    found = {}
    for row in rows:
        identity = tuple((name, value) for name, value in row.items() if isinstance(value, (str, int)))
        found[identity] = {name: value for name, value in row.items() if isinstance(value, float)}
    return found, origin


def main(config: Config) -> None:
    """Print a row for each number that both files have."""
    (first, origin), (second, other) = read_rows(config.first), read_rows(config.second)
    shared = [identity for identity in first if identity in second]
    if not shared:
        raise InputError(f"{config.first} and {config.second} have no row in common")
    table = rich.table.Table("row", "number", "first", "second", "ratio", box=rich.box.SIMPLE)
    for identity in shared:
        label = ", ".join(f"{name} {value}" for name, value in identity)
        for name in sorted(first[identity].keys() & second[identity].keys()):
            left, right = first[identity][name], second[identity][name]
            ratio = f"{right / left:.2f}" if left else "-"
            table.add_row(label, name, f"{left:.4g}", f"{right:.4g}", ratio)
    console = Console()
    console.print(table)
    for name, source in (("first", origin), ("second", other)):
        console.print(f"{name}: commit {source['commit']}, {source['device']['count']} x {source['device']['kind']}")
    console.print(f"{len(first) + len(second) - 2 * len(shared)} rows have no partner")


if __name__ == "__main__":
    try:
        main(tyro.cli(Config, description=__doc__))
    except InputError as problem:
        raise SystemExit(f"error: {problem}") from None
