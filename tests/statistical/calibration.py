"""Are the posteriors of every exact sampler calibrated? Simulation-based calibration and Geweke's joint test.

    python tests/statistical/calibration.py [--samplers hmc nuts] [--broken]

What the tests are says calibration_checks.py. Exits with 1 where a sampler fails, or has too few independent draws to
rank. With --broken the samplers are broken (no Metropolis test at a large step; a density that is too flat; a prior
that is too wide), and each test has to notice; that is the control.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from asymjax.lab import command_line


def main():
    """Run both tests for every exact sampler; exit with 1 where one fails, or where what is broken passes."""
    # Before BlackJAX, which starts JAX when it is imported.
    command_line.start_jax()
    # Pytest has the folders of all tests on the path, Python that of this script alone.
    sys.path.append(str(Path(__file__).parents[1]))
    from calibration_checks import BROKEN, FALSE_ALARM_RATE, MIN_RANKS, Size, check
    from sampler_table import EXACT

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samplers", nargs="+", default=list(EXACT), choices=EXACT)
    parser.add_argument("--broken", action="store_true", help="break hmc in every known way; both tests have to notice")
    for field, default in Size()._asdict().items():
        parser.add_argument(f"--{field.replace('_', '-')}", type=int, default=default)
    options = parser.parse_args()
    size = Size(**{field: getattr(options, field) for field in Size._fields})
    jobs = BROKEN if options.broken else {name: {} for name in options.samplers}
    begun = time.perf_counter()
    table, is_good = Table("", "draws ranked", "calibration: least p", "Geweke: least p", "threshold", ""), True
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=len(jobs))
        for name, changes in jobs.items():
            bar.update(task, description=name)
            ranks, geweke, num_ranked = check("hmc" if options.broken else name, size, **changes)
            threshold = FALSE_ALARM_RATE / (len(jobs) * (len(ranks) + len(geweke)))
            fails = [np.nanmin(p) < threshold or np.any(np.isnan(p)) for p in (ranks, geweke)]
            good = all(fails) if options.broken else not any(fails) and num_ranked >= MIN_RANKS
            is_good = is_good and good
            numbers = [f"{np.min(p):.2g}" for p in (ranks, geweke)]
            table.add_row(name, str(num_ranked), *numbers, f"{threshold:.1g}", "as it should be" if good else "WRONG")
            seconds = time.perf_counter() - begun
            bar.console.print(
                f"{name}: {num_ranked} ranked, p {numbers[0]}; Geweke p {numbers[1]}; {seconds:.0f} s so far"
            )
            bar.advance(task)
    console = Console(width=120)
    console.print(table)
    console.print(f"false-alarm rate {FALSE_ALARM_RATE:g} over the whole table; {time.perf_counter() - begun:.0f} s")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
