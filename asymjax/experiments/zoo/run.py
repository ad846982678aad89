"""A zoo: the sweep of one program, under a name of its own."""

from pathlib import Path

from asymjax.errors import InputError
from asymjax.experiments.grid import grid_programs
from asymjax.experiments.setup import load_data
from asymjax.experiments.train_sweep.config import Config as SweepConfig
from asymjax.experiments.train_sweep.run import run_train_sweep
from asymjax.experiments.variants import CONTROLS, Variant
from asymjax.experiments.zoo.config import Config
from asymjax.models import Models
from asymjax.models.methods import Standard

EXPERIMENT = "zoo"


def run_zoo(config: Config) -> Path:
    """Train the networks of a zoo; resumes one that is not finished.

    Returns
    -------
    The run directory, as of ``run_train_sweep``; :func:`asymjax.read_zoo` reads it.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, or the directory is not this run's.
    DivergedError
        If every loss leaves the finite numbers, where all networks train in one round.
    StopRequestedError
        If SIGTERM came.
    """
    variant = _variant(config)
    (program,) = grid_programs((), variant, config.num_networks)
    sweep = SweepConfig(
        config.data, variant.model, config.optimizer, config.num_networks, start=config.start, seeds=config.seeds
    )
    control = {"control": config.control} if config.control != "none" else {}
    return run_train_sweep(sweep, program, config.run, EXPERIMENT, control)


def _variant(config: Config) -> Variant:
    """Return the networks of a zoo.

    Raises
    ------
    InputError
        If a control is asked for of a method that it is none of.
    """
    model, plain = config.model, Variant(config.model, config.optimizer)
    if config.control == "none":
        return plain
    if model.arch != "w_asym":
        raise InputError(
            f"control is {config.control}, but arch is {model.arch}; it is one of w_asym, whose settings it needs: "
            "give --arch w_asym"
        )
    models = Models({"standard": Standard(), "w_asym": model.method}, model.backbone, mask_seed=model.mask_seed)
    return CONTROLS[config.control](models, plain, load_data(config.data))
