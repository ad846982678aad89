"""Experiments: a folder each, with its configuration, its run and its report.

In: the configuration groups of a script in ``runs/``. Out: a run directory, finished or resumed, and its report. To add
one: a folder here, a script in ``runs/`` that calls it, a line in ``reports.py``. Importing this room imports no JAX.
"""
