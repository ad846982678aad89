"""How metanetworks are trained."""

from dataclasses import dataclass
from typing import Literal

from asymjax.settings import Count, NonNegative, Positive, Settings


@dataclass(frozen=True)
class FitConfig(Settings):
    """How metanetworks are trained: AdamW on the squared error, as Lim et al. (2024) did."""

    num_epochs: Count = 50
    """Passes over the networks of the training."""
    batch_size: Count = 128
    """Networks a step."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay."""
    learning_rates: tuple[Positive, ...] = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)
    """Learning rates, of which the best on the validation networks is taken."""
    targets: Literal["standardised", "raw"] = "standardised"
    """Train for targets of mean 0 and scale 1 over the networks of the training, or for the targets as they are, as
    published."""
    num_trials: Count = 2
    """Metanetworks of each learning rate that it is chosen by; others than those that are reported."""
    num_seeds: Count = 5
    """Metanetworks that are reported, which differ in their seeds alone."""
