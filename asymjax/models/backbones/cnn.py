"""Convolutional network: 3x3 convolutions, optional GroupNorm, activation and 2x2 pooling; mean over pixels, linear.

With strides in place of pooling and three convolutions of 16 channels without norm it is the network of the Small CNN
Zoo (Unterthiner et al. 2020, arXiv 2002.11448).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from flax import linen as nn

from asymjax.errors import InputError
from asymjax.models.backbones.backbone import ActivationHook, Layered, bias_init, kernel_init
from asymjax.models.backbones.convolution import make_conv
from asymjax.types import Array, Feeds, PermutationSpec

KERNEL_SIZE = 3


class CNNModule(nn.Module):
    """Convolutional network on images.

    Attributes
    ----------
    widths : channels of each convolution.
    num_outputs : outputs of the last, linear layer.
    norm : ``"none"``, or ``"layer"`` for a GroupNorm with one group, over height, width and channels, before each
        activation.
    downsampling : ``"pool"`` for 2x2 means after each activation, where there are as many pixels, or ``"stride"`` for
        convolutions of stride 2.
    activation : hook called at the sites ``act_0``, ``act_1``, ...
    """

    widths: tuple[int, ...]
    num_outputs: int
    norm: str
    downsampling: str
    activation: ActivationHook

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return outputs [rows, num_outputs] of images x [rows, height, width, channels]."""
        if x.ndim != 4:
            raise InputError(f"the cnn backbone takes images [rows, height, width, channels], not inputs {x.shape}")
        stride = 2 if self.downsampling == "stride" else 1
        for i, width in enumerate(self.widths):
            x = make_conv(x.shape[-1], width, KERNEL_SIZE, f"conv_{i}", stride)(x)
            if self.norm == "layer":
                x = nn.GroupNorm(num_groups=1, name=f"norm_{i}")(x)
            x = self.activation(f"act_{i}", x, -1)
            if self.downsampling == "pool" and min(x.shape[1:3]) >= 2:
                x = nn.avg_pool(x, (2, 2), (2, 2))
        x = x.mean((1, 2))
        return nn.Dense(self.num_outputs, kernel_init=kernel_init, bias_init=bias_init(x.shape[-1]), name="output")(x)


@dataclass(frozen=True)
class CNN(Layered):
    """Convolutional network."""

    downsampling: Literal["pool", "stride"] = "pool"
    """What halves height and width at each convolution: 2x2 means after its activation, or its stride."""

    is_over_pixels: ClassVar[bool] = True

    def module(self, num_outputs: int, activation: ActivationHook) -> nn.Module:
        """Build the module."""
        return CNNModule(self.widths, num_outputs, self.norm, self.downsampling, activation)

    def permutation_spec(self) -> PermutationSpec:
        """Return one permutation a convolution, of its output channels, norm and the next kernel's inputs."""
        spec: dict[str, tuple[str | None, ...]] = {}
        incoming = None
        for i in range(len(self.widths)):
            outgoing = f"channels_{i}"
            spec |= {f"conv_{i}/kernel": (None, None, incoming, outgoing), f"conv_{i}/bias": (outgoing,)}
            spec |= {f"act_{i}": (outgoing,)}
            if self.norm == "layer":
                spec |= {f"norm_{i}/scale": (outgoing,), f"norm_{i}/bias": (outgoing,)}
            incoming = outgoing
        return spec | {"output/kernel": (incoming, None), "output/bias": (None,)}

    def feeds(self) -> Feeds:
        """Return a chain: each layer feeds its norm, and that its activation."""
        places: dict[str, str] = {}
        for i in range(len(self.widths)):
            places |= self.feed(f"conv_{i}", f"norm_{i}", f"act_{i}")
        return places
