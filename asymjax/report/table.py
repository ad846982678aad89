"""Tables that compare runs: pure text, rendered as Markdown or for the terminal."""

import math
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import rich.box
import rich.table


class Table(NamedTuple):
    """A table of text.

    Attributes
    ----------
    title : what it shows.
    note : how to read it.
    columns : headers.
    rows : as many cells each as there are headers.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: float | None, form: str) -> str:
    """Write a number; a dash where nothing was measured."""
    return "-" if value is None or math.isnan(value) else f"{value:{form}}"


def to_markdown(table: Table) -> str:
    """Render a table as Markdown, with its title and note."""
    rule = ["---"] * len(table.columns)
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (table.columns, rule, *table.rows)]
    return "\n".join([f"### {table.title}", "", table.note, "", *lines, ""])


def to_rich(table: Table) -> rich.table.Table:
    """Render a table for the terminal: headers and names wrap at words, numbers are never cut."""
    rendered = rich.table.Table(
        title=table.title, caption=table.note, title_justify="left", caption_justify="left", box=rich.box.SIMPLE
    )
    for column, header in enumerate(table.columns):
        cells = [row[column] for row in table.rows]
        if header in ("run", "metric", "kind", "inputs"):
            rendered.add_column(header, min_width=max(map(len, " ".join(cells).split())))
        else:
            rendered.add_column(header, justify="right", width=max(map(len, [*header.split(), *cells])))
    for row in table.rows:
        rendered.add_row(*row)
    return rendered


def provenance(names: Sequence[str], runs: Sequence[Any]) -> str:
    """List as Markdown where each run lies and what made it, from its ``path`` and ``record``."""
    lines = []
    for name, run in zip(names, runs, strict=True):
        origin = run.record["provenance"]
        state = " with uncommitted changes" if origin["uncommitted_changes"] else ""
        device = "{count} x {kind}".format(**origin["device"])
        command = shlex.join(origin["command"])
        lines.append(f"- **{name}**: `{run.path}`; `{command}`; commit {origin['commit']}{state}; {device}")
    return "\n".join(lines) + "\n"
