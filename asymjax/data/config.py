"""Which data an experiment takes."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asymjax.data.table import TableConfig
from asymjax.settings import Seed, Settings
from asymjax.types import Dataset


@dataclass(frozen=True)
class DataConfig(Settings):
    """Which data, and how it is split."""

    dataset: str = "digits"
    """Embedded: digits, diabetes, breast_cancer, wine, mnist5k, toy1d (a noisy sine), teacher (a network of two ReLU
    units), digits_graph. From files: mnist, cifar10, cifar100, planetoid/NAME, uci/NAME or uci/NAME/SPLIT, table/FILE.
    Graphs: digits_graph, planetoid/. Made here: distilled/RUN_DIR of runs/distill.py."""
    data_dir: Path | None = None
    """Folder with the files of a dataset that is not embedded, or with a folder of its usual name (mnist,
    cifar-10-batches-bin, planetoid, uci)."""
    table: TableConfig = field(default_factory=TableConfig)
    data_seed: Seed = 0
    """Seed of the split and the order of the rows."""

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """Return what decides the data, as config.json has it: by content, since other data may have the same name."""
        table = self.table.as_dict() if self.dataset.startswith("table/") else {}
        return {"dataset": self.dataset, "data_seed": self.data_seed, "checksum": dataset.checksum, **table}

    @property
    def slug(self) -> str:
        """The dataset's name as part of a file name: letters, digits, dots and hyphens; all else is an underscore."""
        return re.sub(r"[^A-Za-z0-9.-]", "_", self.dataset)
