"""What touches a run's disk, a device or a process: run directories, compiled chunks, placement, processes, results.

In: pure functions of the core. Out: run directories. ``run_files``, ``results`` and ``command_line`` import no JAX.
"""
