"""How every experiment begins: data, model and the run directory, all checked before any work."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from asymjax import data, trees
from asymjax.data.assemble import count_repeated
from asymjax.data.config import DataConfig
from asymjax.errors import InputError
from asymjax.inference.posterior import PosteriorConfig
from asymjax.lab import processes
from asymjax.lab.run_config import RunConfig
from asymjax.lab.rundir import RunDir, open_run
from asymjax.models import draw_frozen
from asymjax.models.config import ModelConfig
from asymjax.types import Dataset, Frozen, Graph, Model


class Opening(NamedTuple):
    """What an experiment works with.

    Attributes
    ----------
    dataset, model, frozen : the data, the network, and the constants that belong to its mask seed.
    posterior : prior and noise with the task's defaults filled in, or None.
    run : the run directory, new or to be resumed.
    """

    dataset: Dataset
    model: Model
    frozen: Frozen
    posterior: PosteriorConfig | None
    run: RunDir


def open_experiment(
    experiment: str,
    suffix: str,
    data_config: DataConfig,
    config: ModelConfig,
    settings: Mapping[str, Any],
    run_config: RunConfig,
    posterior: PosteriorConfig | None = None,
) -> Opening:
    """Load the data, build the model, and open the run directory.

    Parameters
    ----------
    experiment : name of the experiment, the folder below ``run_config.out``.
    suffix : last word of the run directory's readable name.
    data_config, config : data and model.
    settings : the other fields that decide the result.
    run_config : where results go.
    posterior : prior and noise, where the network has a posterior.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    """
    dataset = load_data(data_config)
    if posterior is None:
        model = config.build(dataset.input_shape, dataset.num_outputs)
    else:
        refuse_graph(dataset, data_config.dataset)
        posterior = posterior.for_task(dataset.task)
        num_outputs = posterior.likelihood(dataset.task).num_network_outputs(dataset.num_outputs)
        model = config.build(dataset.input_shape, num_outputs, posterior.normal_prior)
        settings = {"posterior": posterior, **settings}
    frozen = draw_frozen(model, config.mask_seed)
    name = f"{config.backbone_name}-{config.arch}-{data_config.slug}-{suffix}"
    scientific = {"data": data_config.identity(dataset), "model": config.record(), **settings}
    run = open_run(experiment, name, scientific, run_config)
    run.identify(frozen=trees.checksum(frozen))
    return Opening(dataset, model, frozen, posterior, run)


def load_data(config: DataConfig) -> Dataset:
    """Load the data of an experiment.

    Raises
    ------
    InputError
        On every process, if on one the name is unknown or files are missing or damaged.
    """
    dataset = processes.together(lambda: data.load(config.dataset, config.data_dir, config.data_seed, config.table))
    if num_repeated := count_repeated(dataset):
        num_test = len(dataset.test.targets)
        print(f"{config.dataset}: {num_repeated:,} of {num_test:,} test rows are training rows as well", flush=True)
    return dataset


def refuse_graph(dataset: Dataset, name: str) -> None:
    """Refuse graphs as the data of posteriors.

    Raises
    ------
    InputError
        If the inputs are a graph.
    """
    if isinstance(dataset.train.inputs, Graph):
        raise InputError(f"{name} is a graph, which has no noise inputs to evaluate a posterior on")


def describe(
    opening: Opening, data_config: DataConfig, model_config: ModelConfig, trained: str = "all"
) -> dict[str, Any]:
    """Return what every summary.json says of data and network; ``trained`` as in ``OptimizerConfig``."""
    dataset, model, frozen = opening.dataset, opening.model, opening.frozen
    return describe_network(dataset, data_config.dataset, model, frozen, model_config, trained)


def describe_network(
    dataset: Dataset, dataset_name: str, model: Model, frozen: Frozen, model_config: ModelConfig, trained: str = "all"
) -> dict[str, Any]:
    """Return what a summary says of data and of one network; ``trained`` as in ``OptimizerConfig``."""
    free = jax.eval_shape(model.init, jax.random.key(0), frozen)
    free = {trained: free[trained]} if trained != "all" else free
    return {
        "arch": model_config.arch,
        "backbone": model_config.backbone_name,
        **describe_data(dataset, dataset_name),
        "num_trainable": trees.num_entries(free),
        "num_fixed": trees.num_entries(model.params_shape) - trees.num_entries(free),
    }


def describe_data(dataset: Dataset, name: str) -> dict[str, Any]:
    """Return what a summary says of data, with all that new inputs need: shape, and the units of inputs and targets."""
    num_rows = {split: len(getattr(dataset, split).targets) for split in ("train", "validation", "test")}
    known = ("input_shape", "input_mean", "input_scale", "num_outputs", "target_mean", "target_scale", "class_names")
    return {
        "dataset": name,
        "task": dataset.task,
        "num_rows": num_rows,
        "data": {field: getattr(dataset, field) for field in known},
    }
