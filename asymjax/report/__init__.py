"""How a report is made: one look for figures, tables of text, sections of both. Imports no JAX.

In: finished run directories. Out: figures (PNG and PDF) and tables (Markdown and terminal). The report of an experiment
is ``report.py`` in its folder, and one line in ``asymjax/experiments/reports.py``.
"""
