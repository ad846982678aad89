"""Every room imports only rooms to its left, and the root modules."""

import ast
from pathlib import Path

import pytest

import asymjax

ROOMS = ("data", "models", "train", "symmetry", "inference", "diagnostics", "experiments", "report")
PACKAGE = Path(asymjax.__file__).parent
WITHOUT_JAX = ("report", "config", "errors", "results", "cli", "nested", "store")


def imported(path):
    """Return the modules of the package that a file imports, with dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("asymjax.")}


def rooms_of(path):
    return {name.split(".")[1] for name in imported(path)} & set(ROOMS)


def test_every_folder_is_a_room():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_point_to_the_right(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    assert {str(file): rooms_of(file) - allowed for file in files if rooms_of(file) - allowed} == {}


def test_root_modules_import_no_room():
    assert {file.name: rooms_of(file) for file in PACKAGE.glob("*.py") if rooms_of(file)} == {}


def test_reports_and_configuration_import_no_jax(python):
    names = ", ".join(f"asymjax.{name}" for name in WITHOUT_JAX)
    assert python("-c", f"import sys, {names}; print('jax' in sys.modules)").stdout == "False\n"


def test_only_models_import_flax():
    users = {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.py") if "flax" in words_of(file)}
    assert users == {"models"}


def words_of(path):
    nodes = ast.walk(ast.parse(path.read_text()))
    modules = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {module.split(".")[0] for module in modules}
