"""The barriers of a zoo on the rows that it was validated on, part after part, so that progress shows."""

from pathlib import Path
from typing import Any

import numpy as np

from asymjax.errors import InputError
from asymjax.experiments.metanetworks.config import Config
from asymjax.experiments.populations import Sweep, sweep_data
from asymjax.lab.loop import Chunk, run_phase
from asymjax.lab.recorder import InMemory
from asymjax.metanets.barriers import BARRIERS, make_barriers, with_barriers
from asymjax.metanets.zoo import Zoo
from asymjax.report.read import read_record

NETWORKS_PER_CHUNK = 500


def measure_barriers(name: str, path: Path, zoo: Zoo, config: Config) -> Zoo:
    """Return a zoo with barriers as scores, see :func:`~asymjax.metanets.with_barriers`.

    Raises
    ------
    InputError
        If its data set is not there, is another than it was trained on, or has no validation rows.
    """
    record = read_record(path)
    rows = sweep_data(Sweep(path, record["config"], record["checksums"]), config.data_dir).validation
    if not len(rows.targets):
        raise InputError(f"{path}: its data set has no validation rows, which barriers are measured on")

    def measure(zoo: Zoo, rows: Any, reference: int) -> dict[str, np.ndarray]:
        count = zoo.num_networks
        num_chunks = -(-count // NETWORKS_PER_CHUNK)
        size = -(-count // num_chunks)
        of_places = make_barriers(zoo, rows, reference)
        found = {barrier: np.zeros(count) for barrier in BARRIERS}

        def advance(index: int, state: None) -> Chunk:
            places = np.arange(index * size, (index + 1) * size) % count  # The last is filled up.
            for barrier, values in of_places(places).items():
                found[barrier][places] = values
            return Chunk(None)

        recorder, work = InMemory(config.run.progress), (count, "networks")
        run_phase(recorder, f"barriers of {name}", num_chunks, lambda: None, advance, None, work)
        return found

    return with_barriers(zoo, rows, measure=measure)
