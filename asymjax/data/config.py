"""Which data an experiment takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how it is split."""

    dataset: str = "digits"
    """Embedded: digits, diabetes, breast_cancer, wine, mnist5k, toy1d (a noisy sine), digits_graph. From files: mnist,
    cifar10, cifar100, planetoid/NAME, uci/NAME or uci/NAME/SPLIT, table/FILE. Graphs: digits_graph, planetoid/."""
    data_dir: Path | None = None
    """Folder with the files of a dataset that is not embedded, or with a folder of its usual name (mnist,
    cifar-10-batches-bin, planetoid, uci)."""
    data_seed: int = 0
    """Seed of the split and the order of the rows."""

    def record(self) -> dict[str, Any]:
        """Return what decides the data, as config.json has it."""
        return {"dataset": self.dataset, "data_seed": self.data_seed}

    @property
    def slug(self) -> str:
        """The dataset's name as part of a file name."""
        return self.dataset.replace("/", "_")
