"""What touches a run's disk, a device or a process: run directories, compiled chunks, placement, processes, stores.

In: pure functions of the core. Out: run directories. ``run_files``, ``store`` and ``command_line`` import no JAX.
"""
