"""Training of one network, as pure functions.

In: a ``Model``, a loss, an optimizer, data. Out: a ``Trainer``. To add a loss or an optimizer: a line in its module's
dictionary.
"""

from asymjax.train.optimizers import make_optimizer
from asymjax.train.trainer import Trainer, TrainState, make_train

__all__ = ["TrainState", "Trainer", "make_optimizer", "make_train"]
