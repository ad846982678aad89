"""Draw the figures of finished runs, and compare them.

    python runs/report.py results/bnn_hmc/mlp-standard-* results/bnn_hmc/mlp-sigma_asym-*

writes PNG and PDF files into figures/ of each run directory, and a table and a figure that compare the runs into --out;
prints the table and the folders. Takes a few seconds a run, and no JAX.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from asymjax.errors import InputError
from asymjax.lab import command_line


@dataclass(frozen=True)
class Config:
    """Which runs, and where the comparison goes."""

    runs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR [RUN_DIR ...]", help_behavior_hint="")
    ]
    """Finished run directories."""
    out: Path | None = None
    """Folder of table.md and of the figure that compares several runs. Default: figures/ of a single run,
    ./comparison for several."""


def main(config: Config) -> None:
    """Draw and compare."""
    from asymjax.experiments import reports

    reports.write_report(config.runs, config.out)


if __name__ == "__main__":
    try:
        main(tyro.cli(Config, description=__doc__))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(command_line.EXIT_INPUT)
    except KeyboardInterrupt:
        sys.exit(command_line.EXIT_INTERRUPTED)
