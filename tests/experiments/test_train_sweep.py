"""What a sweep says of its networks."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray

from asymjax.errors import InputError
from asymjax.experiments.train_sweep.run import summarise_sweep
from asymjax.lab.results import NETWORKS, NOT_TRAINED, create_group, write_rows


def columns(failed_step, loss):
    return {"train.loss": np.array(loss, np.float64), "failed_step": np.array(failed_step, np.int32)}


def test_a_summary_says_of_each_network_how_it_went_and_misses_none(tmp_path):
    run = SimpleNamespace(path=tmp_path, seconds={})
    like = {name: ("network", values) for name, values in columns([0] * 4, [0.0] * 4).items()}
    template = xarray.Dataset(like, {"seed": ("network", np.arange(4))})
    create_group(tmp_path, NETWORKS, template, {"network": 4}, {"failed_step": NOT_TRAINED})
    write_rows(tmp_path, NETWORKS, {"network": 0}, columns([-1, 4], [0.1, np.nan]))
    with pytest.raises(InputError, match="lacks 2 networks that were trained"):
        summarise_sweep(run, {})
    write_rows(tmp_path, NETWORKS, {"network": 2}, columns([-1, -1], [np.inf, 0.2]))
    status = ["ok", "not finite at step 4", "not finite after the last step", "ok"]
    assert summarise_sweep(run, {})["status"] == status
