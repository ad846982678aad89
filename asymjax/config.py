"""Configuration: frozen dataclasses whose field docstrings are the command line's help. Imports no JAX.

Scripts compose these groups; every field of a group becomes a flag (``--arch``, ``--num-chains``). All groups but
:class:`RunConfig` are scientific: they enter the hash that names a run directory.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from asymjax.errors import choose
from asymjax.priors import OUTPUT_SCALES, NormalPrior

if TYPE_CHECKING:
    from asymjax.types import Layer


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how it is split."""

    dataset: str = "digits"
    """Embedded: digits, diabetes, breast_cancer, wine, mnist5k, toy1d (a noisy sine), digits_graph. From files: mnist,
    cifar10, cifar100, planetoid/NAME, uci/NAME or uci/NAME/SPLIT, table/FILE. Graphs: digits_graph, planetoid/."""
    data_dir: Path | None = None
    """Folder with the files of a dataset that is not embedded, or with a folder of its usual name (mnist,
    cifar-10-batches-bin, planetoid, uci)."""
    data_seed: int = 0
    """Seed of the split and the order of the rows."""


@dataclass(frozen=True)
class ModelConfig:
    """A backbone, and the method that breaks its symmetries."""

    arch: str = "standard"
    """Symmetry-breaking method: standard, w_asym, pruned, sigma_asym, w_sigma_asym (w_asym with the gates of
    sigma_asym), syre, fixed_bias."""
    backbone: str = "mlp"
    """Network family: mlp, cnn, resnet, rnn (gated recurrent units over the rows of an image), gcn (for graphs)."""
    widths: tuple[int, ...] = (32, 32)
    """Units of each hidden layer (mlp, rnn, gcn) or channels of each convolution (cnn)."""
    depth: int = 20
    """Layers of a resnet, 6 n + 2: 8, 14, 20, ..., 110."""
    width_multiplier: float = 1.0
    """Multiple of the 16, 32 and 64 channels of a resnet's three stages."""
    norm: Literal["none", "layer", "batch"] = "layer"
    """Normalisation before each activation: none, layer (GroupNorm with one group in cnn, resnet), or batch (over all
    nodes; gcn)."""
    activation: str = "gelu"
    """Activation: relu, gelu, silu, tanh, identity, half (x / 2); in the rnn that of the candidate state, where tanh is
    usual. sigma_asym replaces it by its gate."""
    num_fixed: tuple[int | float, ...] = ()
    """Fixed inputs of each unit (w_asym, pruned): a count (8) or a fraction of the fan-in (0.125), once for all
    layers or one a layer. Default: 1/8 of the fan-in, 1/2 in the last layer."""
    fixed_scale: tuple[float, ...] = ()
    """Standard deviation of the fixed entries (w_asym) or of the offsets (syre), or bound of the fixed biases
    (fixed_bias), once or one a layer. Default: 0.5, the standard deviation of the prior, and 1."""
    gate_scale: float | Literal["inv_sqrt"] = 1.0
    """Standard deviation of the entries of sigma_asym's gate matrices; inv_sqrt is 1 / sqrt(width)."""
    mask_kind: Literal["random_subsets", "densest", "filter_subsets"] = "random_subsets"
    """Which inputs are fixed: a random subset for each unit, the densest distinct masks, or whole input channels of
    a convolution."""
    mask_seed: int = 0
    """Seed of what is fixed: the identity of the model, shared by all its seeds and chains."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How one network is trained."""

    optimizer: Literal["adamw", "adam", "sgd", "lamb"] = "adamw"
    """Optimizer (sgd has momentum 0.9)."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay of kernels, biases and norms (adamw, lamb)."""
    label_smoothing: float = 0.0
    """Share of each label that training spreads evenly over all classes (classification)."""
    recipe: Literal["shared", "drawn"] = "shared"
    """One recipe for all networks of a sweep, or one drawn for each: learning_rate x 10^-U(0, 2), weight_decay x
    10^-U(0, 4), label_smoothing x U(0, 1)."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning rate over the steps after warmup: constant, or a cosine or a line down to zero."""
    warmup_steps: int = 0
    """Steps of linear learning-rate warmup."""
    clip_norm: float | None = None
    """Clip the global norm of the gradient to this."""
    num_epochs: int = 25
    """Passes over the training rows."""
    batch_size: int | None = 64
    """Rows a step; None takes all rows in every step, as graphs need."""
    trained: Literal["all", "output"] = "all"
    """What is trained: all that the method leaves free, or the output layer alone, on random features."""


@dataclass(frozen=True)
class GridConfig:
    """Settings that vary between the networks of a sweep."""

    grid: tuple[str, ...] = ()
    """Train networks of every combination of these settings: NAME=V1,V2,... for any field of model and optimizer, /
    inside a value for several layers, 0:4 for the whole numbers 0 to 3: learning_rate=1e-4,1e-3 mask_seed=0:4
    arch=standard,w_asym widths=16/16,32/32. All values of learning_rate, weight_decay, label_smoothing, fixed_scale and
    mask_seed train side by side in one compiled program and one run directory; each combination of other settings
    has its own. A setting varies where it matters: fixed_scale not for standard."""


@dataclass(frozen=True)
class PosteriorGridConfig(GridConfig):
    """Settings that vary between posteriors."""

    grid: tuple[str, ...] = ()
    """Sample the posteriors of every combination of these settings, each with chains and a run directory of its own:
    NAME=V1,V2,... for any field of model, posterior and sampler, / inside a value for several layers, 0:4 for the whole
    numbers 0 to 3: temperature=0.1,0.3,1 prior_scale=0.5,1 arch=standard,w_asym. Values of temperature, prior_scale,
    fixed_scale and mask_seed share their compiled programs. A setting varies where it matters."""


@dataclass(frozen=True)
class SeedConfig:
    """Seeds of what differs between networks or chains of one model."""

    init_seed: int = 0
    """Seed of the initial positions."""
    seed: int = 0
    """Seed of the training or sampling noise."""


@dataclass(frozen=True)
class PosteriorConfig:
    """Prior, likelihood and temperature."""

    prior: Literal["fan_in", "isotropic"] = "fan_in"
    """Gaussian prior of kernels: standard deviation prior_scale / sqrt(fan_in), or prior_scale. Biases have
    prior_scale."""
    prior_scale: float = 1.0
    """Standard deviation of the prior, in the units of ``prior``."""
    output_prior_scale: float | None = None
    """The same of the last kernel, as a multiple of prior_scale: the amplitude of the outputs. Default: 20 for
    classification, whose labels are nearly certain; 1 for regression."""
    norm_prior_scale: float = 0.2
    """The same of norm scales (around 1) and norm biases (around 0), as a multiple of prior_scale."""
    noise: Literal["heteroscedastic", "learned", "fixed"] = "heteroscedastic"
    """Regression noise: a second output of the network, one learned scale, or noise_scale."""
    noise_scale: float = 0.1
    """Standard deviation of the noise in standardised units, where noise is fixed."""
    temperature: float = 1.0
    """T in exp(log density / T), over prior and likelihood; below 1 is a cold posterior."""

    @property
    def normal_prior(self) -> NormalPrior:
        """The prior of the parameters."""
        output_scale = 1.0 if self.output_prior_scale is None else self.output_prior_scale
        return NormalPrior(self.prior, self.prior_scale, output_scale, self.norm_prior_scale)

    def scale_of(self, layer: "Layer") -> float:
        """Return the prior's standard deviation of the entries of a parameter, as ``NormalPrior.scale_of``."""
        return self.normal_prior.scale_of(layer)

    def has_scale_head(self, task: str) -> bool:
        """Return whether the noise scale is an output of the network."""
        return task == "regression" and self.noise == "heteroscedastic"

    def for_task(self, task: str) -> "PosteriorConfig":
        """Fill in the defaults that depend on the task."""
        if self.output_prior_scale is not None:
            return self
        return replace(self, output_prior_scale=OUTPUT_SCALES[task])


@dataclass(frozen=True)
class ChainsConfig:
    """Chains, their start, and what is kept of them."""

    sampler: str = "hmc"
    """Sampler."""
    num_chains: int = 4
    """Chains, each from its own init seed."""
    num_draws: int = 400
    """Kept draws a chain."""
    thinning: int = 1
    """Keep one draw in this many."""
    num_warmup: int = 100
    """Steps a chain that adapt and are dropped."""
    start: Literal["map", "prior", "permuted"] = "map"
    """Start chains at the optimum of the same density (a MAP ensemble), at draws from the prior, or at copies of one
    optimum, the units of each permuted at random: for a standard network all the same function."""
    chains_per_start: int = 1
    """Chains that share a start, one after the other: superchains, of which nested R-hat is reported."""
    map_steps: int = 10_000
    """Full-batch optimizer steps to the optimum."""
    map_learning_rate: float = 0.003
    """Peak learning rate on the way to the optimum (cosine schedule)."""
    keep: Literal["auto", "weights", "outputs"] = "auto"
    """What to keep of each draw: weights, or only the outputs on test and noise inputs; auto keeps weights while they
    take less than 2 GB."""


@dataclass(frozen=True)
class AdaptedConfig(ChainsConfig):
    """Chains whose warmup adapts a step size to an acceptance rate, and a metric."""

    target_acceptance_rate: Literal["auto"] | float = "auto"
    """Acceptance rate that warmup's step sizes reach on average; the averaged step size that is kept accepts about 0.1
    more. auto is 0.8, for mala 0.574."""
    mass_matrix: Literal["prior", "adapted"] = "prior"
    """Inverse mass matrix: the variance of the prior, or a diagonal adapted in warmup."""


@dataclass(frozen=True)
class HMCConfig(AdaptedConfig):
    """Hamiltonian Monte Carlo with a given integration time."""

    sampler: Literal["hmc", "mhmc", "dynamic_hmc", "mala"] = "hmc"
    """hmc proposes the end of the trajectory, mhmc any of its points (multinomial). dynamic_hmc draws the integration
    time uniformly from 0 to twice trajectory_length; mala takes one leapfrog step a draw (use thinning)."""
    trajectory_length: Literal["auto"] | float = "auto"
    """Integration time in units of the metric's scale; auto is pi/2, which with mass_matrix prior is (pi/2) times the
    prior scale."""
    jitter: float = 0.5
    """Trajectory lengths are uniform within this fraction of trajectory_length; 0 fixes them."""
    max_integration_steps: int = 500
    """Leapfrog steps a draw at most."""


@dataclass(frozen=True)
class NUTSConfig(AdaptedConfig):
    """Hamiltonian Monte Carlo whose trajectories end where they turn."""

    sampler: Literal["nuts"] = "nuts"
    """nuts is the No-U-Turn Sampler, multinomial over the trajectory."""
    max_doublings: int = 8
    """Doublings of a trajectory at most: 2^max_doublings - 1 leapfrog steps."""


@dataclass(frozen=True)
class MCLMCConfig(AdaptedConfig):
    """Microcanonical Langevin Monte Carlo: dynamics of constant speed, with or without a Metropolis step."""

    sampler: Literal["mclmc", "adjusted_mclmc"] = "mclmc"
    """mclmc takes every step, and has a bias that falls with energy_variance; adjusted_mclmc accepts or rejects the end
    of a trajectory, and has none."""
    num_draws: int = 1000
    """Kept draws a chain."""
    thinning: int = 10
    """Keep one draw in this many; a draw of mclmc is one step of its integrator."""
    num_warmup: int = 10_000
    """Steps a chain that adapt and are dropped. A step of adjusted_mclmc is a trajectory: take about 100."""
    initial_step_size: float = 0.01
    """Step size at the start of warmup, the Euclidean length of a step in units of the metric's scale (mclmc)."""
    initial_energy_variance: float = 0.5
    """Mean squared energy error of a step and coordinate, in squared nats, that the first stage of warmup aims at; it
    falls in a line to energy_variance (mclmc)."""
    energy_variance: float = 0.1
    """The same that the last stage aims at. Less makes smaller steps and a smaller bias (mclmc)."""
    num_stages: int = 10
    """Stages of warmup that tune the step size, from 2 (mclmc)."""
    trajectory_length: Literal["auto"] | float = "auto"
    """Length of a trajectory divided by sqrt(coordinates), in units of the metric's scale; auto is pi/2
    (adjusted_mclmc)."""
    jitter: float = 0.5
    """Trajectory lengths are uniform within this fraction of trajectory_length (adjusted_mclmc)."""
    max_integration_steps: int = 250
    """Integrator steps of a trajectory at most, of two gradients each (adjusted_mclmc)."""


@dataclass(frozen=True)
class MinibatchConfig(ChainsConfig):
    """Langevin dynamics on gradients of a few rows, without a Metropolis test: draws are biased by the step size.

    All walk in coordinates in units of the prior's standard deviation.
    """

    sampler: Literal["sgld", "csgld", "sghmc", "sgnht", "psgld", "swag"] = "sgld"
    """sgld is stochastic gradient Langevin dynamics, csgld the same in cycles of large and small steps, sghmc has
    momentum, sgnht a thermostat that takes up gradient noise, psgld divides steps by running gradient norms. swag
    samples no posterior: it draws from a Gaussian fitted to SGD's steps in warmup; its draws are independent, so give
    --thinning 1."""
    thinning: int = 100
    """Keep one draw in this many steps."""
    num_warmup: int = 20_000
    """Steps a chain that are dropped, at the constant step_size."""
    batch_size: int = 64
    """Rows a step, drawn with replacement."""
    step_size: Literal["auto"] | float = "auto"
    """Step size in units of one row: a step takes the gradient of the log density times step_size / rows, whatever the
    batch size. The same for samplers with momentum, whose time step is the square root of that. auto is 0.1 (sgld),
    0.3 (csgld), 0.01 (sghmc, sgnht), 0.001 (psgld), or 0.1 (swag). On digits those of sgld and sghmc do not converge;
    the others were tried in short runs, or not at all."""
    schedule: Literal["constant", "polynomial"] = "constant"
    """Step sizes of sgld's draws: constant, or step_size x (1 + t / decay_steps)^-decay_exponent after t steps. Draws
    all count the same."""
    decay_steps: float = 1000.0
    """Steps after which the polynomial schedule begins to fall."""
    decay_exponent: float = 1 / 3
    """Exponent of the polynomial schedule, above 0 and at most 1; 1/3 converges fastest (Teh et al. 2016)."""
    num_cycles: int = 4
    """Cycles of csgld; must divide num_draws. In each, step sizes fall from step_size to zero on half a cosine."""
    exploration: float = 0.5
    """Share of each cycle of csgld that takes its largest steps, without noise and without draws, in [0, 1). It comes
    on top of the steps that thinning counts."""
    momentum: float = 0.9
    """Share of the momentum that a step keeps (sghmc; at the start sgnht), in [0, 1)."""
    norm_decay: float = 0.99
    """Share of the running squared gradients that a step keeps (psgld)."""
    norm_floor: float = 1e-5
    """Added to the gradient norms that divide steps, in units of one row (psgld)."""
    control_variates: bool = False
    """Estimate only how the gradient differs from the one at the start of the chain, at twice the cost. Less noisy near
    the start, noisier far from it."""


FAMILIES: dict[str, type[ChainsConfig]] = {
    "hmc": HMCConfig,
    "nuts": NUTSConfig,
    "mclmc": MCLMCConfig,
    "sgld": MinibatchConfig,
}
"""Groups of samplers, by the last word of the script that runs them: ``"hmc"`` for ``runs/bnn_hmc.py``."""


FAMILY_OF: dict[str, str] = {
    name: family for family, chains in FAMILIES.items() for name in get_args(get_type_hints(chains)["sampler"])
}
"""The family of every sampler, by the name of the sampler."""


def chains_of(sampler: str, **settings: Any) -> tuple[str, Any]:
    """Return the family of a sampler, and its configuration with some fields set.

    Raises
    ------
    InputError
        If the sampler is unknown.
    """
    family = choose(FAMILY_OF, sampler, "sampler")
    return family, FAMILIES[family](sampler=sampler, **settings)


Varied = Literal[
    "none",
    "fixed_scale",
    "num_fixed",
    "gate_scale",
    "mask_seed",
    "width",
    "learning_rate",
    "warmup_steps",
    "weight_decay",
    "num_epochs",
]


@dataclass(frozen=True)
class KindsConfig:
    """Which kinds of networks are compared."""

    archs: tuple[str, ...] = ("standard", "w_asym", "sigma_asym", "pruned", "syre")
    """Methods to compare, a kind each, out of: standard, w_asym, pruned, sigma_asym, w_sigma_asym, syre,
    fixed_bias."""
    controls: tuple[str, ...] = ()
    """Further kinds: different_masks (w_asym, each network with a mask of its own), w_asym_start (standard networks
    that start at the effective weights of w_asym ones), small_standard (standard, as narrow as w_asym has trainable
    entries), random_features (w_asym, only the output layer trained)."""
    vary: Varied = "none"
    """A setting that takes each of --values in turn, a kind each, for the methods that it matters to. The other
    methods stay as they are; width is the units of every hidden layer, or a resnet's width multiplier."""
    values: tuple[float, ...] = ()
    """The values of the setting that varies."""


@dataclass(frozen=True)
class StudyConfig:
    """Which posteriors are compared, and how each is sampled."""

    archs: tuple[str, ...] = ("standard", "w_asym", "sigma_asym", "pruned", "syre")
    """Methods to compare, an arm each, out of: standard, w_asym, pruned, sigma_asym, w_sigma_asym, syre,
    fixed_bias."""
    vary: Literal["none", "fixed_scale", "num_fixed", "gate_scale", "temperature"] = "none"
    """A setting that takes each of --values in turn, an arm each, for the methods that it matters to; temperature
    matters to all."""
    values: tuple[float, ...] = ()
    """The values of the setting that varies."""
    num_repeats: int = 3
    """Independent runs of each arm, on the same data and with the same mask; run r has init_seed + r and seed + r."""
    sampler: str = "hmc"
    """Sampler of runs/bnn_hmc.py, bnn_nuts.py, bnn_mclmc.py or bnn_sgld.py, at its defaults but for what follows."""
    num_chains: int = 4
    """Chains of each run, each from its own optimum."""
    num_draws: int = 200
    """Kept draws a chain."""
    num_warmup: int | None = None
    """Steps a chain that adapt and are dropped. Default: the sampler's."""
    thinning: int | None = None
    """Keep one draw in this many. Default: the sampler's."""
    map_steps: int = 2000
    """Full-batch optimizer steps to the optimum that a chain starts from."""
    reference_draws: int | None = None
    """Kept draws a chain of both HMC runs of each arm that classifiers by other samplers than hmc are held against.
    Default: twice num_draws."""


@dataclass(frozen=True)
class PathConfig:
    """Where loss and accuracy are measured on straight paths."""

    num_points: int = 25
    """Points on each path, both ends included; odd, so that the middle is one of them."""
    num_train_rows: int = 10_000
    """Training rows that are measured, the first ones."""
    corruptions: tuple[str, ...] = ()
    """Measure on corrupted test rows too: noise, blur, contrast, rotation, occlusion (images, but for noise)."""


@dataclass(frozen=True)
class ConnectivityConfig(PathConfig):
    """Where loss and accuracy are measured on the paths between networks."""

    align: bool = True
    """Measure all paths a second time, the weights of the second network permuted to match the first."""
    plane_points: int = 21
    """Points along each side of a grid on the plane through the first three networks of each kind; 0 for no plane."""
    plane_metric: Literal["filter", "raw"] = "filter"
    """Lengths on that plane: in units of each filter's norm (Li et al. 2018), or Euclidean over all parameters."""


@dataclass(frozen=True)
class RunConfig:
    """Where results go and where work runs; none of it changes a result beyond rounding."""

    preset: str = "default"
    """Named settings to start from; flags given beside it win."""
    out: Path = Path("results")
    """Parent of the run directories."""
    run_dir: Path | None = None
    """This very run directory, instead of a name below ``out``."""
    force: bool = False
    """Delete a finished or half-finished run in that directory and start again."""
    placement: Literal["auto", "vectorized", "sequential"] | int = "auto"
    """Networks or chains inside a device: at once (vmap), one after the other (lax.map), or so many at once; auto is
    sequential on CPU and vectorized on accelerators."""
    num_devices: int | None = None
    """Devices to spread networks or chains over; must divide their number. Default: the largest number that does."""
    round_size: int | None = None
    """Networks of a sweep that are trained side by side, over all devices; more are trained in further rounds. Default:
    a power of two that memory has room for, up to 1024 or 64 a device. A run that began keeps its own."""
    progress: bool = True
    """Show a progress bar."""
    profile: bool = False
    """Trace the first chunk of each phase into profile/ of the run directory, for XProf or Perfetto."""
    distributed: bool = False
    """Run as one of several processes that Slurm, a TPU pod or another cluster that JAX knows has started."""
    coordinator: str | None = None
    """Run as one of several processes: HOST:PORT of process 0, the same for all."""
    num_processes: int | None = None
    """How many processes there are (with --coordinator)."""
    process_id: int | None = None
    """Which of them this is, from 0 (with --coordinator)."""


PAPER_GNN = ModelConfig(
    backbone="gcn", widths=(256, 256, 256), norm="batch", num_fixed=(6,), fixed_scale=(0.5,), gate_scale=0.000625
)
PAPER_RESNET = ModelConfig(
    backbone="resnet", norm="layer", activation="relu", fixed_scale=(2.0,), gate_scale="inv_sqrt"
)

MODEL_PRESETS: dict[str, ModelConfig] = {
    "paper_mlp_mnist": ModelConfig(
        widths=(512, 512, 512), norm="layer", num_fixed=(64, 64, 64, 256), fixed_scale=(1.0, 1.0, 0.5, 0.25)
    ),
    "paper_bnn_mlp8": ModelConfig(
        widths=(256,) * 8, norm="layer", activation="relu", num_fixed=(8,), fixed_scale=(0.5,)
    ),
    "paper_bnn_mlp16": ModelConfig(
        widths=(256,) * 16, norm="layer", activation="relu", num_fixed=(8,), fixed_scale=(0.5,)
    ),
    "paper_resnet20_w1": replace(
        PAPER_RESNET, num_fixed=(12, *(36,) * 6, 54, 54, 6, *(54,) * 4, 72, 72, 8, *(72,) * 4, 8)
    ),
    "paper_resnet20_w8": replace(
        PAPER_RESNET,
        width_multiplier=8.0,
        num_fixed=(27, *(108,) * 6, 162, 162, 18, *(162,) * 4, 216, 216, 24, *(216,) * 4, 24),
    ),
    "paper_gnn_arxiv": PAPER_GNN,
    "paper_resnet8_metanet": replace(PAPER_RESNET, depth=8, mask_kind="filter_subsets", num_fixed=(3, *(8,) * 8, 8)),
}
"""Models of Lim et al. (2024), tables of section 5 and appendix, with 10 classes: MLPs at 784 inputs, ResNets at
32 x 32 x 3; the graph network at 128 features and 40 classes, with gates of standard deviation 0.01 / sqrt(256).

``num_fixed`` follows the forward pass, where the two convolutions of a block come before its projection: stem, six
convolutions of stage 1; two convolutions, projection and four convolutions of stages 2 and 3 each; output. Three times
the stem's 12 exceed its fan-in of 27 at width 8, so all of it is fixed there; so are the 3 input channels of ResNet8,
where ``num_fixed`` counts channels. ResNet20 at width 1 has 230,026 trainable entries, where the paper prints 230,024.
The paper's table also has a projection of stage 1, where none is needed. ``fixed_scale`` of the ResNets is 2 as in the
paper; its released script takes 3 unless told otherwise.
"""
