"""Models of Lim et al. (2024), by name."""

from asymjax.models.backbones import GCN, MLP, ResNet
from asymjax.models.config import Models, each_method

BNN = each_method(num_fixed=8, fixed_scale=0.5, gate_scale=1.0)
RESNET = {"fixed_scale": 2.0}

MODEL_PRESETS: dict[str, Models] = {
    "paper_mlp_mnist": Models(
        each_method(num_fixed=(64, 64, 64, 256), fixed_scale=(1.0, 1.0, 0.5, 0.25), gate_scale=1.0),
        MLP((512, 512, 512)),
    ),
    "paper_bnn_mlp8": Models(BNN, MLP((256,) * 8, activation="relu")),
    "paper_bnn_mlp16": Models(BNN, MLP((256,) * 16, activation="relu")),
    "paper_resnet20_w1": Models(
        each_method(num_fixed=(12, *(36,) * 6, 54, 54, 6, *(54,) * 4, 72, 72, 8, *(72,) * 4, 8), **RESNET),
        ResNet(activation="relu"),
    ),
    "paper_resnet20_w8": Models(
        each_method(num_fixed=(27, *(108,) * 6, 162, 162, 18, *(162,) * 4, 216, 216, 24, *(216,) * 4, 24), **RESNET),
        ResNet(width_multiplier=8.0, activation="relu"),
    ),
    "paper_gnn_arxiv": Models(
        each_method(num_fixed=6, fixed_scale=0.5, gate_scale=0.000625), GCN((256, 256, 256), norm="batch")
    ),
    "paper_resnet8_metanet": Models(
        each_method(mask_kind="filter_subsets", num_fixed=(3, *(8,) * 8, 8), **RESNET),
        ResNet(depth=8, activation="relu"),
    ),
}
"""Tables of section 5 and appendix, with 10 classes: MLPs at 784 inputs, ResNets at 32 x 32 x 3; the graph network at
128 features and 40 classes, with gates of standard deviation 0.01 / sqrt(256).

``num_fixed`` follows the forward pass, where the two convolutions of a block come before its projection: stem, six
convolutions of stage 1; two convolutions, projection and four convolutions of stages 2 and 3 each; output. Three times
the stem's 12 exceed its fan-in of 27 at width 8, so all of it is fixed there; so are the 3 input channels of ResNet8,
where ``num_fixed`` counts channels. ResNet20 at width 1 has 230,026 trainable entries, where the paper prints 230,024.
The paper's table also has a projection of stage 1, where none is needed. ``fixed_scale`` of the ResNets is 2 as in the
paper; its released script takes 3 unless told otherwise.

Gates of MLPs have entries of standard deviation 1, and those of ResNets 1 / sqrt(channels), as in the released code.
What is published as sigma-asymmetric ResNet20 is there a W-asymmetric one with a gate after its stem. Its standard and
sigma-asymmetric ResNets begin Kaiming-normal, sqrt(6) times as wide as here.
"""
