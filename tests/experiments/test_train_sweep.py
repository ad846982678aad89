"""What a sweep says of its networks."""

from types import SimpleNamespace

import numpy as np
import pytest

from asymjax.errors import InputError
from asymjax.experiments.train_sweep import summarise_sweep
from asymjax.store import STORE, create_store, write_networks


def test_networks_that_a_store_lacks_are_not_summarised(tmp_path):
    path, run = tmp_path / STORE, SimpleNamespace(path=tmp_path, seconds={})
    create_store(path, 3, 3, {"failed_step": ((), np.int32)}, {"seed": np.arange(3)}, "identity")
    write_networks(path, 0, {"failed_step": np.array([-1, 4], np.int32)})
    with pytest.raises(InputError, match="lacks 1 networks that were trained"):
        summarise_sweep(run, {})
    write_networks(path, 2, {"failed_step": np.array([-1], np.int32)})
    assert summarise_sweep(run, {})["status"] == ["ok", "not finite at step 4", "ok"]
