"""Run a script in a process that kills itself at a chosen place.

    python kill.py PHASE CHUNK PLACE SCRIPT WORDS...

PLACE is ``before`` (the chunk is computed, nothing of it written), ``half`` (half of its draws are written) or
``between`` (draws and metrics are written, the checkpoint is not); ``sigterm`` asks to stop there instead. ``full`` and
``full_checkpoint`` let no file grow further, as on a full disk, before the draws and before the checkpoint.
"""

import os
import resource
import runpy
import signal
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest import mock

from asymjax.lab import results
from asymjax.lab.rundir import RunDir

MAX_BYTES = 20_000  # the outputs of a chunk of draws take more
MAX_METADATA_BYTES = 1000  # a checkpoint begins with files smaller than this


class Interrupted(BaseException):
    """In place of a kill, where a script runs in the process of a test."""


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def give_up(*args, **kwargs):
    raise Interrupted


def end_half_way(end, write_rows, run_dir, name, starts, arrays):
    write_rows(run_dir, name, starts, dict(list(arrays.items())[:1]))
    end()


def fill_up_and_save(save, *args, **kwargs):
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_METADATA_BYTES, MAX_METADATA_BYTES))
    return save(*args, **kwargs)


@contextmanager
def ending(phase, chunk, place, end):
    """Call ``end``, or let something else happen, at a place of a run."""
    commit, patches = RunDir.commit, ExitStack()

    def commit_or_end(run, at, num_done, *args, **kwargs):
        if (at, num_done) == (phase, int(chunk)):
            manager = run._manager(at)
            if place == "before":
                end()
            if place == "half":
                half_way = partial(end_half_way, end, results.write_rows)
                patches.enter_context(mock.patch.object(results, "write_rows", half_way))
            if place == "between":
                manager.save = end
            if place == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            if place == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))
            if place == "full_checkpoint":
                manager.save = partial(fill_up_and_save, manager.save)
        commit(run, at, num_done, *args, **kwargs)

    with patches, mock.patch.object(RunDir, "commit", commit_or_end):
        yield


def main(phase, chunk, place, script, *words):
    sys.argv = [script, *words]
    with ending(phase, chunk, place, die):
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
