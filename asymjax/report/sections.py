"""From finished runs to files: what a report of an experiment consists of, and how figures are saved."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from asymjax.report import style
from asymjax.report.table import Table, provenance, to_markdown

Figures = Mapping[str, Callable[[Any], Figure]]
"""Name of a file -> what draws it of a run."""


class Plot(NamedTuple):
    """A figure still to be drawn."""

    folder: Path
    name: str
    draw: Callable[[], Figure]


class Section(NamedTuple):
    """What is said of runs that are compared.

    Attributes
    ----------
    heading : of the Markdown.
    tables : in order.
    plots : figures of each run, and of their comparison.
    names : how the runs are called.
    runs : of one experiment.
    words : what the tables come to, in sentences.
    headline : the tables that a run ends with; None for all.
    """

    heading: str
    tables: Sequence[Table]
    plots: Sequence[Plot]
    names: Sequence[str]
    runs: Sequence[Any]
    words: Sequence[str] = ()
    headline: Sequence[Table] | None = None


class Report(NamedTuple):
    """How the runs of an experiment are reported.

    Attributes
    ----------
    read : (run directory) -> run, with ``path`` and ``record``.
    sections : (runs, folder of comparisons) -> Sections.
    """

    read: Callable[[Path], Any]
    sections: Callable[[Sequence[Any], Path], list[Section]]


def plots_of(run: Any, figures: Figures) -> list[Plot]:
    """Return the figures of a run, each to go to ``figures/`` of its directory."""
    return [Plot(run.path / "figures", name, partial(plot, run)) for name, plot in figures.items()]


def figures_of(figures: Figures, needs: Mapping[str, Callable[[Any], object]], run: Any) -> Figures:
    """Return those figures of an experiment for which a run has measured what they show.

    Parameters
    ----------
    figures : all of them.
    needs : name of a figure -> (run) -> what it shows; where that is nothing, the figure is left out.
    """
    return {name: plot for name, plot in figures.items() if name not in needs or needs[name](run)}


def report_each(
    read: Callable[[Path], Any],
    tables: Callable[[Any], Sequence[Table]],
    figures: Figures,
    needs: Mapping[str, Callable[[Any], object]] = {},
    words: Callable[[Any], Sequence[str]] = lambda run: (),
    headline: Callable[[Any], Sequence[Table] | None] = lambda run: None,
) -> Report:
    """Return the report of an experiment whose runs compare something each, and not one another.

    Parameters
    ----------
    read : (run directory) -> run, with a ``title`` too.
    tables : (run) -> its tables.
    figures : its figures.
    needs : what a run may lack, as of :func:`figures_of`.
    words : (run) -> what its tables come to, in sentences.
    headline : (run) -> the tables that it ends with; None for all.
    """

    def section(run: Any) -> Section:
        plots = plots_of(run, figures_of(figures, needs, run))
        return Section(run.title.capitalize(), tables(run), plots, [run.title], [run], words(run), headline(run))

    return Report(read, lambda runs, out: list(map(section, runs)))


def document(section: Section) -> str:
    """Write the Markdown of a section."""
    tables = map(to_markdown, section.tables)
    words = [f"{sentence}\n" for sentence in section.words]
    return "\n".join(
        [f"## {section.heading}\n", *words, *tables, "### Runs\n", provenance(section.names, section.runs)]
    )


@style.styled
def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.png`` and ``name.pdf``; the same figure gives the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png")
    figure.set_layout_engine("none")  # The layout is found; finding it again takes as long as drawing.
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
