"""Residual network for small images: three stages of basic blocks, mean over pixels, linear.

He et al. (2016), arXiv 1512.03385, section 4.2, with projections where the shape changes (option B). As in Lim et al.
(2024) the norm is a GroupNorm with one group, over height, width and channels, and convolutions before it have no bias.
Activations, hence gates, stand after the norm of the stem, after the first norm of a block, and after each sum of a
block and its shortcut.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from flax import linen as nn

from asymjax.errors import InputError
from asymjax.models.backbones.backbone import ActivationHook, Backbone, bias_init, kernel_init
from asymjax.models.backbones.convolution import make_conv
from asymjax.settings import Count, Positive
from asymjax.types import Array, Feeds, PermutationSpec

BASE_WIDTHS = (16, 32, 64)


def num_blocks(depth: int) -> int:
    """Return n, the blocks of a stage of a network of 6 n + 2 layers.

    Raises
    ------
    InputError
        If the depth is not of that form.
    """
    blocks, remainder = divmod(depth - 2, 6)
    if blocks < 1 or remainder:
        raise InputError(f"depth is {depth}; a resnet has 6 n + 2 layers: 8, 14, 20, 32, 44, 56, 110, ...")
    return blocks


def stage_widths(width_multiplier: float) -> tuple[int, ...]:
    """Return the channels of each stage, to the nearest integer.

    Raises
    ------
    InputError
        If a stage has no channel.
    """
    widths = tuple(round(width_multiplier * width) for width in BASE_WIDTHS)
    if min(widths) < 1:
        raise InputError(f"width_multiplier is {width_multiplier}, which makes stages of {widths} channels")
    return widths


def conv_norm(x: Array, width: int, size: int, stride: int, norm: str, name: str) -> Array:
    """Convolve x [rows, height, width, channels] with the parameters ``conv_NAME`` and normalise with ``norm_NAME``.

    Padding is symmetric, so that strided kernels of all sizes are centred at the same pixels.
    """
    x = make_conv(x.shape[-1], width, size, f"conv_{name}", stride, padding=size // 2, use_bias=norm == "none")(x)
    return x if norm == "none" else nn.GroupNorm(num_groups=1, name=f"norm_{name}")(x)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    Attributes
    ----------
    width : channels of both convolutions.
    stride : of the first convolution; where it is not 1, the shortcut is a 1x1 convolution.
    norm : ``"none"`` or ``"layer"``.
    activation : hook called at the sites ``NAME/act_0`` and ``NAME/act_1``.
    """

    width: int
    stride: int
    norm: str
    activation: ActivationHook

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map x [rows, height, width, channels] to [rows, height / stride, width / stride, self.width]."""
        inner = conv_norm(x, self.width, 3, self.stride, self.norm, "0")
        inner = self.activation(f"{self.name}/act_0", inner, -1)
        inner = conv_norm(inner, self.width, 3, 1, self.norm, "1")
        if self.stride != 1:
            x = conv_norm(x, self.width, 1, self.stride, self.norm, "shortcut")
        return self.activation(f"{self.name}/act_1", inner + x, -1)


class ResNetModule(nn.Module):
    """Residual network on images.

    Attributes
    ----------
    num_blocks : blocks of a stage.
    widths : channels of each stage; each but the first halves height and width.
    num_outputs : outputs of the last, linear layer.
    norm : ``"none"``, or ``"layer"`` for a GroupNorm with one group after each convolution.
    activation : hook called at the sites ``act_stem``, ``block_0_0/act_0``, ``block_0_0/act_1``, ...
    """

    num_blocks: int
    widths: tuple[int, ...]
    num_outputs: int
    norm: str
    activation: ActivationHook

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return outputs [rows, num_outputs] of images x [rows, height, width, channels]."""
        if x.ndim != 4:
            raise InputError(f"the resnet backbone takes images [rows, height, width, channels], not inputs {x.shape}")
        x = self.activation("act_stem", conv_norm(x, self.widths[0], 3, 1, self.norm, "stem"), -1)
        for stage, width in enumerate(self.widths):
            for i in range(self.num_blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                x = Block(width, stride, self.norm, self.activation, name=f"block_{stage}_{i}")(x)
        x = x.mean((1, 2))
        return nn.Dense(self.num_outputs, kernel_init=kernel_init, bias_init=bias_init(x.shape[-1]), name="output")(x)


class Convolution(NamedTuple):
    """Path with ``{}`` for conv or norm, the permutations that it reads and writes, and the site that it feeds."""

    path: str
    reads: str | None
    writes: str
    site: str


def convolutions(depth: int) -> Iterator[Convolution]:
    """Yield the convolutions of a network: ``stage_S`` are the channels of a residual stream, ``block_S_I`` inner ones.

    Identity shortcuts make all blocks of a stage share the channels of its stream.
    """
    yield Convolution("{}_stem", None, "stage_0", "act_stem")
    for stage in range(len(BASE_WIDTHS)):
        stream = f"stage_{stage}"
        for i in range(num_blocks(depth)):
            block = f"block_{stage}_{i}"
            is_strided = stage > 0 and i == 0
            reads = f"stage_{stage - 1}" if is_strided else stream
            yield Convolution(f"{block}/{{}}_0", reads, block, f"{block}/act_0")
            yield Convolution(f"{block}/{{}}_1", block, stream, f"{block}/act_1")
            if is_strided:
                yield Convolution(f"{block}/{{}}_shortcut", reads, stream, f"{block}/act_1")


@dataclass(frozen=True)
class ResNet(Backbone):
    """Residual network."""

    depth: Count = 20
    """Layers, 6 n + 2: 8, 14, 20, ..., 110."""
    width_multiplier: Positive = 1.0
    """Multiple of the 16, 32 and 64 channels of the three stages."""
    norm: Literal["none", "layer"] = field(default="layer", kw_only=True)
    """Normalisation before each activation: none, or layer (GroupNorm with one group)."""

    def check(self) -> None:
        """Check the settings: the depth is 6 n + 2, every stage has a channel."""
        super().check()
        num_blocks(self.depth)
        stage_widths(self.width_multiplier)

    def with_width(self, width: float) -> "ResNet":
        """Return it with this multiple of channels."""
        return replace(self, width_multiplier=width)

    def narrowed(self, factor: float) -> "ResNet":
        """Return it with that share of its channels."""
        return replace(self, width_multiplier=factor * self.width_multiplier)

    def module(self, num_outputs: int, activation: ActivationHook) -> nn.Module:
        """Build the module."""
        widths = stage_widths(self.width_multiplier)
        return ResNetModule(num_blocks(self.depth), widths, num_outputs, self.norm, activation)

    def permutation_spec(self) -> PermutationSpec:
        """Return one permutation a residual stream and one a block, see :func:`convolutions`."""
        spec: dict[str, tuple[str | None, ...]] = {}
        for path, reads, writes, site in convolutions(self.depth):
            shifted = [path.format("conv") + "/bias"]
            if self.norm == "layer":
                shifted = [path.format("norm") + "/scale", path.format("norm") + "/bias"]
            spec |= {path.format("conv") + "/kernel": (None, None, reads, writes), site: (writes,)}
            spec |= dict.fromkeys(shifted, (writes,))
        return spec | {"output/kernel": (f"stage_{len(BASE_WIDTHS) - 1}", None), "output/bias": (None,)}

    def feeds(self) -> Feeds:
        """Return what convolutions and norms feed; a block and its projection feed one activation."""
        places: dict[str, str] = {}
        for path, _, _, site in convolutions(self.depth):
            places |= self.feed(path.format("conv"), path.format("norm"), site)
        return places
