"""What a sweep says of its networks."""

from types import SimpleNamespace

import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.experiments.train_sweep.run import summarise_sweep
from asymjax.lab.store import STORE, create_store, write_networks

VARIABLES = {"failed_step": ((), np.int32), "train.loss": ((), np.float64)}


def columns(failed_step, loss):
    return {"failed_step": np.array(failed_step, np.int32), "train.loss": np.array(loss, np.float64)}


def test_a_summary_says_of_each_network_how_it_went_and_misses_none(tmp_path):
    path, run = tmp_path / STORE, SimpleNamespace(path=tmp_path, seconds={})
    create_store(path, 4, 4, VARIABLES, {"seed": np.arange(4)}, "identity")
    write_networks(path, 0, columns([-1, 4], [0.1, np.nan]))
    with pytest.raises(InputError, match="lacks 2 networks that were trained"):
        summarise_sweep(run, {})
    write_networks(path, 2, columns([-1, -1], [np.inf, 0.2]))
    status = ["ok", "not finite at step 4", "not finite after the last step", "ok"]
    assert summarise_sweep(run, {})["status"] == status
