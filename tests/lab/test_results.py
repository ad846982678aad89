"""The zarr tree of a run: written by rows, by several processes, after kills; read through xarray."""

import resource
import signal

import numpy as np
import pytest
import xarray

from asymjax.errors import InputError
from asymjax.lab.results import (
    NETWORKS,
    RESULTS,
    create_group,
    flatten_names,
    open_networks,
    open_results,
    read_arrays,
    read_chunks,
    shares_files,
    tree_of,
    write_arrays,
    write_rows,
)

COUNT, CHUNK = 10, 4
KERNEL = "position.dense_0.kernel"
BIAS = "position.dense_0.bias"
BEGIN = {"failed_step": -2}


def values(start, stop):
    """Return all variables of some networks, each number of its own; ``failed_step`` last."""
    rows = np.arange(start, stop)
    kernel = 100 * rows[:, None, None] + np.arange(6).reshape(3, 2)
    return {
        "train.loss": (rows / 7).astype(np.float32),
        KERNEL: kernel.astype(np.float32),
        BIAS: kernel[:, 0].astype(np.float32) / 3,
        "failed_step": np.where(rows == 5, 7, -1).astype(np.int32),
    }


def make_template(count=COUNT, first_seed=0, **more):
    data = {
        name: (
            ("network", *(f"{name}_dim_{axis}" for axis in range(array.ndim - 1))),
            np.broadcast_to(array[0], (count, *array.shape[1:])),
        )
        for name, array in (values(0, 1) | more).items()
    }
    return xarray.Dataset(data, {"seed": ("network", np.arange(first_seed, first_seed + count))})


def create(path, template=None, chunk=CHUNK):
    path.mkdir(exist_ok=True)
    create_group(path, NETWORKS, make_template() if template is None else template, {"network": chunk}, BEGIN)


def write(path, start, arrays):
    write_rows(path, NETWORKS, {"network": start}, arrays)


@pytest.fixture
def path(tmp_path):
    create(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def full(path):
    write(path, 0, values(0, COUNT))
    return path


def assert_holds(dataset, expected):
    for name, array in expected.items():
        assert dataset[name].dtype == array.dtype
        np.testing.assert_array_equal(dataset[name].values, array)


def chunk_file(path, name, chunk):
    axes = values(0, 1)[name].ndim - 1
    return path.joinpath(RESULTS, NETWORKS, name, "c", str(chunk), *("0" * axes))


def damage(path, name, chunk):
    file = chunk_file(path, name, chunk)
    file.write_bytes(file.read_bytes()[:10])


def theirs(path):
    return xarray.open_zarr(path / RESULTS, group=NETWORKS, chunks=None, consolidated=False)


@pytest.mark.parametrize("read", [open_networks, theirs])
def test_what_was_written_comes_back(full, read):
    dataset = read(full)
    assert set(dataset.coords) == {"seed"} and set(dataset.data_vars) == values(0, 1).keys()
    assert_holds(dataset, values(0, COUNT) | {"seed": np.arange(COUNT)})


def test_rows_that_are_not_there_yet(path):
    write(path, 4, values(4, 8))
    dataset = open_networks(path)
    assert dataset["failed_step"].values.tolist() == [-2] * 4 + [-1, 7, -1, -1] + [-2] * 2
    assert_holds(dataset.isel(network=slice(4, 8)), values(4, 8))
    with pytest.raises(InputError, match=r"train.loss/c/\d is not there: it is lost or not written yet"):
        dataset["train.loss"].load()


def test_resuming_after_half_a_round_gives_what_one_go_gives(path):
    write(path, 0, values(0, 3))
    write(path, 3, {"train.loss": values(3, 6)["train.loss"] + 1})  # Killed before the rest of the round.
    assert np.sum(open_networks(path)["failed_step"] == -2) == COUNT - 3
    create(path, chunk=3)
    for start, stop in ((3, 6), (6, COUNT)):
        write(path, start, values(start, stop))
    assert_holds(open_networks(path), values(0, COUNT))


@pytest.mark.parametrize(
    ("template", "match"),
    [
        (make_template(11), "has networks of another run: failed_step, position"),
        (make_template(**{BIAS: np.zeros((1, 3), np.float32)}), f"another run: {BIAS} differ in shape or dtype"),
        (make_template(**{"train.loss": np.zeros(1)}), "another run: train.loss differ"),
        (make_template(**{"test.loss": np.zeros(1)}), "another run: test.loss differ"),
    ],
    ids=["count", "shape", "dtype", "variable"],
)
def test_the_networks_of_another_run_are_refused(full, template, match):
    with pytest.raises(InputError, match=match):
        create(full, template)
    assert_holds(open_networks(full), values(0, COUNT))


def test_nothing_is_read_before_it_is_asked_for_and_damage_is_named(full):
    damage(full, KERNEL, 1)
    dataset = open_networks(full)
    assert_holds(dataset, {"train.loss": values(0, COUNT)["train.loss"]})
    assert_holds(dataset.isel(network=[9, 0, 2]), {KERNEL: values(0, COUNT)[KERNEL][[9, 0, 2]]})
    with pytest.raises(Exception, match=r"(?i)checksum|crc"):
        dataset[KERNEL].isel(network=5).load()
    with pytest.raises(InputError, match=r"networks/position.dense_0.kernel is damaged"):
        read_arrays(full, NETWORKS)
    with pytest.raises(InputError, match="kernel is damaged"):
        write(full, 5, values(5, 6))
    write(full, 4, values(4, 8))  # A whole file needs nothing of the damaged one.
    assert_holds(open_networks(full), values(0, COUNT))


def test_a_grid_is_one_dataset(tmp_path):
    grid = tmp_path / "grid"
    grid.mkdir()
    (grid / "summary").mkdir()
    for name, width in (("a", 2), ("b", 2), ("c", 3)):
        bias = np.ones((COUNT, width), np.float32)
        create(grid / name, make_template(**{BIAS: bias[:1]}))
        write(grid / name, 0, values(0, COUNT) | {BIAS: bias})
    dataset = open_networks(grid)
    assert dataset["run"].values.tolist() == ["a"] * 10 + ["b"] * 10 + ["c"] * 10
    assert set(dataset.coords) == {"run", "seed"} and set(dataset.data_vars) == values(0, 1).keys() - {BIAS}
    np.testing.assert_array_equal(dataset[KERNEL].values, np.concatenate([values(0, COUNT)[KERNEL]] * 3))
    np.testing.assert_array_equal(dataset["seed"].values, [*range(COUNT)] * 3)
    assert set(open_networks(grid, "train.").data_vars) == {"train.loss"}
    with pytest.raises(InputError, match=r"no variable of all runs begins with 'position.dense_0.b'"):
        open_networks(grid, "position.dense_0.b")
    damage(grid / "b", KERNEL, 0)
    with pytest.raises(InputError, match=r"grid/b/results.zarr/networks is damaged"):
        open_networks(grid)


def test_trees_come_back(full):
    tree = {"position": {"dense_0": {"kernel": 1, "bias": 2}}, "failed_step": 3}
    assert flatten_names(tree) == {"failed_step": 3, BIAS: 2, KERNEL: 1}
    dataset = open_networks(full, "position.", "failed")
    assert set(dataset.data_vars) == values(0, 1).keys() - {"train.loss"}
    back = tree_of(dataset.isel(network=[1, 8]), "position.")
    assert set(back) == {"dense_0"} and set(back["dense_0"]) == {"kernel", "bias"}
    np.testing.assert_array_equal(back["dense_0"]["kernel"], values(0, COUNT)[KERNEL][[1, 8]])
    np.testing.assert_equal(
        tree_of(read_arrays(full, "networks/"), "networks/position."), tree_of(dataset, "position.")
    )
    with pytest.raises(InputError, match=r"no array begins with 'frozen.'"):
        tree_of(dataset, "frozen.")


def test_processes_share_files_where_a_boundary_is_inside_one(path):
    for boundaries, shares in (([0, 4, 8], False), ([0, 5], True)):
        assert shares_files(path, NETWORKS, values(0, 1), "network", boundaries) == shares


def test_no_results_and_damaged_ones(full, tmp_path):
    with pytest.raises(InputError, match="holds no networks"):
        open_networks(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"results.zarr does not exist; is .* a run directory"):
        open_results(tmp_path / "elsewhere")
    metadata = full / RESULTS / NETWORKS / KERNEL / "zarr.json"
    metadata.write_text(metadata.read_text()[:100])
    with pytest.raises(InputError, match=r"results.zarr is damaged"):
        open_results(full)


def test_a_lost_file_is_named_also_of_nan_or_zeros_alone(tmp_path):
    create(tmp_path, make_template(1), 1)
    write(tmp_path, 0, values(0, 1) | {"train.loss": np.full(1, np.nan, np.float32)})
    assert np.isnan(open_networks(tmp_path)["train.loss"].values).all()
    for name in ("train.loss", "seed"):
        (tmp_path / RESULTS / NETWORKS / name / "c" / "0").unlink()
        with pytest.raises(InputError, match=f"{name}/c/0 is not there"):
            open_networks(tmp_path)[name].load()


def test_a_full_disk_is_an_error_of_the_system_and_harms_nothing(full):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(full, 0, {KERNEL: values(0, COUNT)[KERNEL] + 1})
        with pytest.raises(OSError, match="File too large"):
            create(full.with_name("other"))
        with pytest.raises(OSError, match="File too large"):
            write_arrays(full, {"kinds/points": (("point",), np.arange(9.0))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_holds(open_networks(full), values(0, COUNT))


@pytest.mark.parametrize("num_files", [0, 3, 9, 14])
def test_kills_leave_whole_files_and_resume_to_the_same(tmp_path, python, num_files):
    """Killed when so many files have their names: in the middle of the creation, and of a round."""
    code = (
        "import os, signal, sys; from pathlib import Path; from lab import test_results as t\n"
        "def die(*words): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def counted(move):\n"
        "    def moved(*words): len(done) == int(sys.argv[2]) and die(); done.append(1); return move(*words)\n"
        "    return moved\n"
        "done, path = [], Path(sys.argv[1])\n"
        "os.replace, os.rename, os.link = map(counted, (os.replace, os.rename, os.link))\n"
        "Path.replace, Path.rename = map(counted, (Path.replace, Path.rename))\n"
        "Path.hardlink_to = counted(Path.hardlink_to)\n"
        "t.create(path); t.write(path, 0, t.values(0, t.COUNT))"
    )
    path = tmp_path / "run"
    assert python("-c", code, path, num_files, check=False).returncode == -signal.SIGKILL
    assert list(path.rglob("*.partial"))
    create(path)
    assert set(open_networks(path)["failed_step"].values) == {-2}
    write(path, 0, values(0, COUNT))
    assert_holds(open_networks(path), values(0, COUNT))


# Arrays and draws ------------------------------------------------------------------------------------------------


def test_arrays_have_names_and_are_replaced_whole(full):
    arrays = {"kinds/points": (("point",), np.arange(5)), "kinds/w_asym/loss": (("pair", "point"), np.ones((2, 5)))}
    write_arrays(full, {"kinds/points": (("point",), np.zeros(7))})
    write_arrays(full, arrays | {"kinds/none": (("no_pair",), np.zeros(0))})
    (full / "DONE").touch()
    tree = open_results(full)
    assert tree["kinds/w_asym/loss"].dims == ("pair", "point")
    np.testing.assert_array_equal(tree["kinds/points"], np.arange(5))
    assert NETWORKS in tree.children
    assert read_arrays(full, "kinds/").keys() == {"kinds/points", "kinds/none", "kinds/w_asym/loss"}
    with xarray.open_datatree(full / RESULTS, engine="zarr") as theirs:  # Warns, unless metadata are in one file.
        assert theirs.groups == tree.groups


def test_nothing_to_write_leaves_nothing(tmp_path):
    write_arrays(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_draws_are_read_in_the_chunks_in_which_they_were_written(tmp_path):
    lp = np.arange(12.0).reshape(2, 6)
    template = xarray.Dataset({"lp": (("chain", "draw"), lp)}, {"chain": np.arange(2), "draw": np.arange(6)})
    create_group(tmp_path, "sample_stats", template, {"chain": 1, "draw": 2})
    for draw in (0, 2, 4):
        for chain in (0, 1):
            part = lp[chain : chain + 1, draw : draw + 2]
            write_rows(tmp_path, "sample_stats", {"chain": chain, "draw": draw}, {"lp": part})
    chunks = [chunk["sample_stats/lp"] for chunk in read_chunks(tmp_path, "sample_stats/")]
    assert [chunk.shape for chunk in chunks] == [(2, 2)] * 3
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), lp)
    with pytest.raises(InputError, match="holds no draws of posterior/"):
        next(read_chunks(tmp_path, "posterior/"))
    assert read_arrays(tmp_path, "posterior/") == {}
    (tmp_path / RESULTS / "sample_stats" / "lp" / "c" / "1" / "2").unlink()
    with pytest.raises(InputError, match=r"sample_stats/lp/c/1/2 is not there"):
        list(read_chunks(tmp_path, "sample_stats/"))
