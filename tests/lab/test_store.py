import resource
import signal

import numpy as np
import pytest
import xarray

from asymjax.errors import InputError
from asymjax.lab.store import (
    STORE,
    create_store,
    flatten_names,
    read_networks,
    shares_chunks,
    tree_of,
    write_networks,
)

COUNT, CHUNK = 10, 4
KERNEL = "position.dense_0.kernel"
VARIABLES = {
    "failed_step": ((), np.int32),
    "train.loss": ((), np.float32),
    KERNEL: ((3, 2), np.float32),
    "position.dense_0.bias": ((2,), np.float32),
}
COORDINATES = {
    "seed": np.arange(COUNT),
    "learning_rate": np.linspace(0.1, 1.0, COUNT, dtype=np.float32),
    "arch": np.array(["w_asym", "standard"] * (COUNT // 2)),
}


def values(start, stop):
    """Return all variables of some networks, each number of its own."""
    rows = np.arange(start, stop)
    kernel = 100 * rows[:, None, None] + np.arange(6).reshape(3, 2)
    return {
        "failed_step": np.where(rows == 5, 7, -1).astype(np.int32),
        "train.loss": (rows / 7).astype(np.float32),
        KERNEL: kernel.astype(np.float32),
        "position.dense_0.bias": kernel[:, 0].astype(np.float32) / 3,
    }


@pytest.fixture
def path(tmp_path):
    create_store(tmp_path / STORE, COUNT, CHUNK, VARIABLES, COORDINATES, "identity")
    return tmp_path / STORE


@pytest.fixture
def full(path):
    write_networks(path, 0, values(0, COUNT))
    return path


def assert_holds(dataset, expected):
    for name, array in expected.items():
        assert dataset[name].dtype == array.dtype
        np.testing.assert_array_equal(dataset[name].values, array)


def damage(path, name, chunk):
    file = path.joinpath(name, "c", str(chunk), *("0" for _ in VARIABLES[name][0]))
    file.write_bytes(file.read_bytes()[:10])


@pytest.mark.parametrize(
    "read", [read_networks, lambda path: xarray.open_zarr(path, chunks=None)], ids=["ours", "theirs"]
)
def test_what_was_written_comes_back(full, read):
    dataset = read(full)
    assert dataset.attrs["identity"] == "identity"
    assert set(dataset.coords) == COORDINATES.keys() and set(dataset.data_vars) == VARIABLES.keys()
    assert_holds(dataset, values(0, COUNT))
    assert_holds(dataset, {name: COORDINATES[name] for name in ("seed", "learning_rate")})
    assert dataset["arch"].values.tolist() == COORDINATES["arch"].tolist()


def test_rows_that_are_not_there_yet(path):
    write_networks(path, 6, values(6, 9))
    dataset = read_networks(path.parent)
    assert (dataset.attrs["num_done"], dataset.attrs["count"]) == (3, COUNT)
    assert dataset["failed_step"].values.tolist() == [-2] * 6 + [-1] * 3 + [-2]
    assert np.isnan(dataset[KERNEL].values).all((1, 2)).tolist() == [True] * 6 + [False] * 3 + [True]


def test_resuming_after_half_a_round_gives_what_one_go_gives(path):
    write_networks(path, 0, values(0, 3))
    write_networks(path, 3, {"train.loss": values(3, 6)["train.loss"] + 1})  # Killed before the rest of the round.
    assert read_networks(path).attrs["num_done"] == 3
    create_store(path, COUNT, 3, VARIABLES, COORDINATES, "identity")
    for start, stop in ((3, 6), (6, COUNT)):
        write_networks(path, start, values(start, stop))
    dataset = read_networks(path)
    assert dataset.attrs["num_done"] == COUNT
    assert_holds(dataset, values(0, COUNT))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"count": 11, "coordinates": {"seed": np.arange(11)}}, "count: 10 -> 11"),
        ({"identity": "another"}, "identity: 'identity' -> 'another'"),
        ({"variables": VARIABLES | {KERNEL: ((3, 4), "float32")}}, r"float32 \[3, 2\]' -> 'float32 \[3, 4\]"),
        ({"variables": VARIABLES | {"test.loss": ((), "float32")}}, r"test.loss: None -> 'float32 \[\]'"),
        (
            {"coordinates": COORDINATES | {"seed": np.arange(COUNT) % 9}},
            "seed: at 1 of 10 networks, first .* 9: 9 -> 0",
        ),
        ({"coordinates": COORDINATES | {"arch": np.array(["syre"] * COUNT)}}, "first at network 0: w_asym -> syre"),
    ],
    ids=["count", "identity", "shape", "variable", "seeds", "strings"],
)
def test_the_store_of_another_sweep_is_refused(full, change, match):
    sweep = {"count": COUNT, "variables": VARIABLES, "coordinates": COORDINATES, "identity": "identity"}
    with pytest.raises(InputError, match=match):
        create_store(full, chunk=CHUNK, **(sweep | change))
    assert_holds(read_networks(full), values(0, COUNT))


@pytest.mark.parametrize(
    ("start", "change", "match"),
    [
        (0, {"loss": np.zeros(2)}, "no variable 'loss', choose from failed_step"),
        (0, {"seed": np.zeros(2)}, "no variable 'seed'"),
        (0, {"train.loss": np.zeros(2)}, r"train.loss is float64 \[2\], but .* holds float32 \[10\]"),
        (0, {KERNEL: np.zeros((2, 2, 3), np.float32)}, r"float32 \[2, 2, 3\], but .* holds float32 \[10, 3, 2\]"),
        (9, {}, "networks 9 to 10, but .* has 10"),
        (-1, {}, "networks -1 to 0, but .* has 10"),
        (0, {"train.loss": np.zeros(3, np.float32)}, "different numbers of networks: failed_step 2, train.loss 3"),
    ],
)
def test_what_does_not_fit_is_refused(path, start, change, match):
    with pytest.raises(InputError, match=match):
        write_networks(path, start, values(0, 2) | change)
    assert read_networks(path).attrs["num_done"] == 0


@pytest.mark.parametrize(
    ("variables", "coordinates", "match"),
    [
        ({"a/b": ((), np.float32)}, {}, "'a/b' cannot be stored"),
        ({"seed": ((), np.float32)}, {"seed": np.arange(2)}, "'seed' cannot be stored"),
        ({"mask": ((), bool)}, {}, "mask is bool"),
        ({}, {"seed": np.arange(3)}, r"seed has shape \(3,\), for 2 networks"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path, variables, coordinates, match):
    with pytest.raises(InputError, match=match):
        create_store(tmp_path / STORE, 2, 1, variables, coordinates, "")
    assert not list(tmp_path.iterdir())


def test_nothing_is_read_before_it_is_asked_for_and_damage_is_named(full):
    damage(full, KERNEL, 1)
    dataset = read_networks(full)
    assert_holds(dataset, {"train.loss": values(0, COUNT)["train.loss"]})
    assert_holds(dataset.isel(network=[9, 0, 2]), {KERNEL: values(0, COUNT)[KERNEL][[9, 0, 2]]})
    with pytest.raises(InputError, match=r"position.dense_0.kernel is damaged .* train that sweep again"):
        dataset[KERNEL].isel(network=5).load()
    with pytest.raises(InputError, match="kernel is damaged"):
        write_networks(full, 5, values(5, 6))
    write_networks(full, 4, values(4, 8))  # A whole file needs nothing of the damaged one.
    assert_holds(read_networks(full), values(0, COUNT))


@pytest.mark.parametrize(
    "index",
    [3, slice(2, 9, 3), slice(None, None, -2), [7, 0, 7], np.arange(COUNT) % 3 == 0, slice(5, 5)],
    ids=str,
)
def test_indices_select_as_numpy_does(full, index):
    picked = read_networks(full)[KERNEL].isel(network=index).isel({f"{KERNEL}.axis_1": [2, 0], f"{KERNEL}.axis_2": 1})
    np.testing.assert_array_equal(picked.values, values(0, COUNT)[KERNEL][index][..., [2, 0], 1])


def test_a_grid_is_one_dataset(full, tmp_path):
    grid = tmp_path / "grid"
    for name, width in (("a", 2), ("b", 2), ("c", 3)):
        (grid / name).mkdir(parents=True)
        variables = VARIABLES | {"position.dense_0.bias": ((width,), np.float32)}
        create_store(grid / name / STORE, COUNT, CHUNK, variables, COORDINATES, name)
        written = values(0, COUNT)
        write_networks(grid / name / STORE, 0, written | {"position.dense_0.bias": np.ones((10, width), np.float32)})
    dataset = read_networks(grid)
    assert dataset.attrs == {"count": 30, "num_done": 30}
    assert dataset["run"].values.tolist() == ["a"] * 10 + ["b"] * 10 + ["c"] * 10
    assert set(dataset.data_vars) == VARIABLES.keys() - {"position.dense_0.bias"}
    every = np.concatenate([values(0, COUNT)[KERNEL]] * 3)
    np.testing.assert_array_equal(dataset[KERNEL].values, every)
    np.testing.assert_array_equal(dataset[KERNEL].isel(network=[25, 3, 14, 4]).values, every[[25, 3, 14, 4]])
    with pytest.raises(InputError, match=r"not all runs have position.dense_0.bias with the same shape"):
        read_networks(grid, "position.")
    damage(grid / "b" / STORE, KERNEL, 0)
    with pytest.raises(InputError, match=r"grid/b/networks.zarr/position.dense_0.kernel is damaged"):
        dataset[KERNEL].load()


def test_trees_come_back(full):
    tree = {"position": {"dense_0": {"kernel": 1, "bias": 2}}, "failed_step": 3}
    assert flatten_names(tree) == {"failed_step": 3, "position.dense_0.bias": 2, KERNEL: 1}
    dataset = read_networks(full, "position.", "failed")
    assert set(dataset.data_vars) == VARIABLES.keys() - {"train.loss"}
    back = tree_of(dataset, "position", indices=[1, 8])
    assert set(back) == {"dense_0"} and set(back["dense_0"]) == {"kernel", "bias"}
    np.testing.assert_array_equal(back["dense_0"]["kernel"], values(0, COUNT)[KERNEL][[1, 8]])
    with pytest.raises(InputError, match=r"no variable begins with 'frozen.'"):
        tree_of(dataset, "frozen")
    with pytest.raises(InputError, match="no variable that begins with 'test', choose from failed_step"):
        read_networks(full, "test")


def test_processes_share_files_where_a_boundary_is_inside_one(path):
    assert not shares_chunks(path, [0, 4, 8, COUNT])
    assert shares_chunks(path, [0, 5, COUNT])


def test_no_store_a_foreign_one_and_a_truncated_one(full, tmp_path):
    with pytest.raises(InputError, match="holds no networks"):
        read_networks(tmp_path / "elsewhere")
    (tmp_path / "foreign").mkdir()
    xarray.Dataset({"a": ("x", np.arange(3))}).to_zarr(tmp_path / "foreign" / "a.zarr", consolidated=False)
    with pytest.raises(InputError, match="no store of networks of this version: its format is None, expected 1"):
        read_networks(tmp_path / "foreign" / "a.zarr")
    text = (full / "zarr.json").read_text()
    (full / "zarr.json").write_text(text.replace('"count"', '"number"', 1))
    with pytest.raises(InputError, match=r"zarr.json is damaged \(it lacks count\)"):
        read_networks(full)
    (full / "zarr.json").write_text(text[:100])
    with pytest.raises(InputError, match=r"zarr.json is damaged"):
        read_networks(full)
    (full / "zarr.json").unlink()
    with pytest.raises(InputError, match="is no store of networks"):
        read_networks(full.parent)


def test_a_lost_file_of_trained_networks_is_named(path):
    failed = values(0, 4) | {"train.loss": np.full(4, np.nan, np.float32)}
    write_networks(path, 0, failed)
    assert_holds(read_networks(path).isel(network=slice(4)), failed)  # A file of NaN alone is there, too.
    assert np.isnan(read_networks(path)["train.loss"].values).all()
    (path / "train.loss" / "c" / "0").unlink()
    assert np.isnan(read_networks(path)["train.loss"][4:].values).all()
    with pytest.raises(InputError, match=r"train.loss is damaged .*file of networks 0 to 3 is not there"):
        read_networks(path)["train.loss"][[2, 5]].load()


@pytest.mark.parametrize("start", [0, 1])  # Files that hold nothing but zeros are kept as well.
def test_a_lost_file_of_a_coordinate_is_named(tmp_path, start):
    path = tmp_path / STORE
    create_store(path, 1, 1, VARIABLES, {"seed": np.arange(start, start + 1)}, "identity")
    assert read_networks(path)["seed"].values == [start]
    (path / "seed" / "c" / "0").unlink()
    with pytest.raises(InputError, match=r"seed is damaged .*its file is not there"):
        read_networks(path)


def test_a_full_disk_is_an_error_of_the_system_and_harms_nothing(full):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_networks(full, 0, {KERNEL: values(0, COUNT)[KERNEL] + 1})
        with pytest.raises(OSError, match="File too large"):
            create_store(full.with_name("other"), COUNT, CHUNK, VARIABLES, COORDINATES, "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_holds(read_networks(full), values(0, COUNT))
    assert [file.name for file in full.parent.iterdir()] == [STORE]


def test_kills_leave_no_store_or_a_whole_one(tmp_path, python):
    """Killed when all of a store but its name is written, and when two of a round's files have their names."""
    path = tmp_path / STORE
    code = (
        "import os, signal, sys; from pathlib import Path; from lab import test_store as t\n"
        "def die(*words): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def replace(*words): len(done) == 2 and die(); done.append(os.replace(*words))\n"
        "done, path = [], Path(sys.argv[1])\n"
        "if sys.argv[2] == 'create': Path.rename = die\n"
        "t.create_store(path, t.COUNT, t.CHUNK, t.VARIABLES, t.COORDINATES, 'identity')\n"
        "Path.replace = replace\n"
        "t.write_networks(path, 0, t.values(0, t.COUNT))"
    )
    assert python("-c", code, path, "create", check=False).returncode == -signal.SIGKILL
    assert not path.exists()
    with pytest.raises(InputError, match="holds no networks"):
        read_networks(tmp_path)
    assert python("-c", code, path, "write", check=False).returncode == -signal.SIGKILL
    assert len(list(path.rglob("*.partial"))) >= 1
    assert read_networks(tmp_path).attrs["num_done"] == 0
    create_store(path, COUNT, CHUNK, VARIABLES, COORDINATES, "identity")
    write_networks(path, 0, values(0, COUNT))
    assert_holds(read_networks(path), values(0, COUNT))
