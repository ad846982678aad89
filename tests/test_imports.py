"""Data flow one way: core, then lab, then experiments; and the core is pure."""

import ast
from pathlib import Path

import pytest

import asymjax

CORE = ("data", "models", "train", "symmetry", "inference", "diagnostics", "metanets", "sparse", "paths")
ROOMS = (*CORE, "lab", "report", "experiments")
PACKAGE = Path(asymjax.__file__).parent
FACE = {
    "sampling.py",
    "networks.py",
    "zoos.py",
    "tickets.py",
    "walks.py",
}  # The public functions that join the core to the lab's devices and progress.
OF_THE_LAB = {"orbax", "zarr", "os", "socket", "signal", "subprocess", "rich", "tyro", "fcntl", "ctypes"}
WITHOUT_JAX = (
    *("experiments.reports", "settings", "priors", "errors", "tree_paths"),
    *("lab.run_files", "lab.run_config", "lab.command_line", "lab.results"),
)


def names_in(path):
    """Return the modules that a file imports, with dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_of(path):
    return {name.split(".")[1] for name in names_in(path) if name.startswith("asymjax.")} & set(ROOMS)


def core_files():
    rooms = [file for room in CORE for file in (PACKAGE / room).rglob("*.py")]
    return [
        *rooms,
        *(PACKAGE / f"{name}.py" for name in ("types", "trees", "tree_paths", "axes", "priors", "rng", "divisors")),
    ]


def test_every_folder_is_a_room():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_point_to_the_right(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    assert {str(file): rooms_of(file) - allowed for file in files if rooms_of(file) - allowed} == {}


def test_of_the_root_modules_only_the_public_face_imports_rooms():
    using = {file.name: rooms_of(file) for file in PACKAGE.glob("*.py") if rooms_of(file)}
    assert using.keys() == FACE
    assert set.union(*using.values()) <= {*CORE, "lab"}


def test_the_core_touches_no_disk_device_or_process():
    used = {str(file): {name.split(".")[0] for name in names_in(file)} & OF_THE_LAB for file in core_files()}
    opens_files = str(PACKAGE / "data")
    assert {file: names for file, names in used.items() if names and not file.startswith(opens_files)} == {}
    assert [str(file) for file in core_files() if "jax.distributed" in file.read_text()] == []


def test_reports_and_the_command_line_import_no_jax(python):
    names = ", ".join(f"asymjax.{name}" for name in WITHOUT_JAX)
    assert python("-c", f"import sys, {names}; print('jax' in sys.modules)").stdout == "False\n"


def test_only_models_and_metanets_import_flax():
    users = {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.py") if "flax" in packages_of(file)}
    assert users <= {"models", "metanets"}


def packages_of(path):
    return {name.split(".")[0] for name in names_in(path)}


def test_no_script_starts_a_backend_before_devices_are_configured(python):
    code = (
        "import importlib, pathlib, sys; sys.path.insert(0, 'runs');"
        "[importlib.import_module(file.stem) for file in pathlib.Path('runs').glob('*.py')];"
        "import asymjax; [getattr(asymjax, name) for name in asymjax.__all__];"
        "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    )
    assert python("-c", code, cwd=PACKAGE.parent).stdout == "False\n"
