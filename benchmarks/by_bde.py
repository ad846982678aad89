"""Fit bde to rows in a folder and keep what it predicts; run by ``bench_bde.py`` with an interpreter that has bde.

    python benchmarks/by_bde.py FOLDER '{"n_members": 8}'

Reads rows.npz (inputs, targets, test_inputs) and writes predictive.npz: means and log noise scales side by side
[member, draw, test row, 2], and bde's version.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


def main(folder: Path, settings: dict) -> None:
    """Fit, predict, write."""
    from bde import BdeRegressor

    with np.load(folder / "rows.npz") as rows:
        inputs, targets, test_inputs = (np.asarray(rows[name]) for name in ("inputs", "targets", "test_inputs"))
    regressor = BdeRegressor(validation_split=None, **settings)
    regressor.fit(inputs, targets[:, 0])
    mean, raw = np.split(np.asarray(regressor.predict(test_inputs, raw=True), np.float64), 2, axis=-1)
    # bde's scale is softplus(raw) + 1e-6.
    predictive = np.concatenate([mean, np.log(np.logaddexp(0, raw) + 1e-6)], axis=-1)
    np.savez(folder / "predictive.npz", predictive=predictive, version=version("sklearn-contrib-bde"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
