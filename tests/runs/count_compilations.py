"""Run a script and print a line for every program that the compilation cache did not have.

python count_compilations.py SCRIPT WORDS...
"""

import runpy
import sys

import jax

from asymjax.lab import command_line

MISS = "/jax/compilation_cache/cache_misses"
start_jax = command_line.start_jax


def start_and_keep_everything(*args):
    start_jax(*args)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.monitoring.register_event_listener(lambda event, **kwargs: event == MISS and print("compiled", flush=True))


if __name__ == "__main__":
    command_line.start_jax = start_and_keep_everything
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
