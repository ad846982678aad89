"""Training, one network or a sweep over seeds.

In: a ``Model``, a loss, an optimizer, data. Out: a ``Trainer`` of pure functions, or trained positions with a leading
[seed] axis and a run directory. To add a loss or an optimizer: a line in its module's dictionary.
"""

from asymjax.train.optimizers import make_optimizer
from asymjax.train.sweep import run_sweep
from asymjax.train.trainer import Trainer, TrainState, make_train

__all__ = ["TrainState", "Trainer", "make_optimizer", "make_train", "run_sweep"]
