"""Benchmarks run only when asked for: ``pytest benchmarks --run-benchmarks``."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags."""
    parser.addoption("--run-benchmarks", action="store_true", help="run the benchmarks")
    parser.addoption("--data-dir", type=Path, help="folder of the UCI regression sets, for the targets in it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip benchmarks unless the flag is given."""
    if not config.getoption("--run-benchmarks"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason="give --run-benchmarks"))
