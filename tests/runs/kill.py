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
from functools import partial

from asymjax.lab import results
from asymjax.lab.rundir import RunDir

commit = RunDir.commit
MAX_BYTES = 20_000  # the outputs of a chunk of draws take more
MAX_METADATA_BYTES = 1000  # a checkpoint begins with files smaller than this


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def die_half_way(write_rows, run_dir, name, starts, arrays):
    write_rows(run_dir, name, starts, dict(list(arrays.items())[:1]))
    die()


def fill_up_and_save(save, *args, **kwargs):
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_METADATA_BYTES, MAX_METADATA_BYTES))
    return save(*args, **kwargs)


def main(phase, chunk, place, script, *words):
    def commit_or_die(run, at, num_done, *args, **kwargs):
        if (at, num_done) == (phase, int(chunk)):
            if place == "before":
                die()
            if place == "half":
                results.write_rows = partial(die_half_way, results.write_rows)
            if place == "between":
                run._manager(at).save = die
            if place == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            if place == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))
            if place == "full_checkpoint":
                manager = run._manager(at)
                manager.save = partial(fill_up_and_save, manager.save)
        commit(run, at, num_done, *args, **kwargs)

    RunDir.commit = commit_or_die
    sys.argv = [script, *words]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
