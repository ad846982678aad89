"""UCI folders: the benchmark layout with index files, and single tables."""

import numpy as np
import pytest

from asymjax.data import load

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(30, 4)).round(3)
BIKES = """instant,dteday,season,casual,registered,cnt
1,2011-01-01,1,3,13,16
2,2011-01-01,2,8,32,40
3,2011-01-01,3,5,27,32
4,2011-01-02,4,1,10,11
"""


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "toy" / "data"
    data.mkdir(parents=True)
    np.savetxt(data / "data.txt", VALUES)
    write(data, "index_features", [0, 1, 3])
    write(data, "index_target", [2])
    for split in range(11):
        order = np.random.default_rng(split).permutation(30)
        write(data, f"index_train_{split}", order[:20])
        write(data, f"index_test_{split}", order[20:])
    return tmp_path


def write(data, name, index):
    (data / f"{name}.txt").write_text("".join(f"{i}\n" for i in index))


def test_split_keeps_the_official_rows(folder):
    dataset = load("uci/toy/3", folder)
    test = np.random.default_rng(3).permutation(30)[20:]
    raw = dataset.test.targets * dataset.target_scale + dataset.target_mean
    np.testing.assert_allclose(raw[:, 0], VALUES[test, 2], atol=1e-6)
    assert [split.inputs.shape for split in dataset[2:5]] == [(18, 3), (2, 3), (10, 3)]
    correlation = np.corrcoef(dataset.test.inputs.T, VALUES[test][:, [0, 1, 3]].T)[:3, 3:]
    np.testing.assert_allclose(np.diag(correlation), 1, atol=1e-6)
    np.testing.assert_allclose(dataset.train.inputs.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train.targets.std(0), 1, atol=1e-6)


def test_default_split_and_seeds(folder):
    first = load("uci/toy", folder)
    assert first.checksum == load("uci/toy/0", folder).checksum
    assert first.checksum != load("uci/toy/1", folder).checksum
    other = load("uci/toy", folder, data_seed=1)
    assert first.checksum != other.checksum
    for dataset in (first, other):
        raw = dataset.test.targets * dataset.target_scale + dataset.target_mean
        np.testing.assert_allclose(raw[:, 0], VALUES[np.random.default_rng(0).permutation(30)[20:], 2], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "index", "message"),
    [
        ("index_train_0", [*range(19), 30], r"index_train_0\.txt: index 30, expected a whole number from 0 to 29"),
        ("index_train_0", [*range(19), -1], r"index_train_0\.txt: index -1, expected"),
        ("index_train_0", [*range(19), 2.5], r"index_train_0\.txt: index 2\.5, expected a whole number"),
        ("index_train_0", [*range(19), 7], r"index_train_0\.txt: index 7 appears more than once"),
        ("index_test_0", [*range(9), 3], r"index_test_0\.txt: index 3 appears more than once"),
        ("index_features", [0, 4], r"index_features\.txt: index 4, expected a whole number from 0 to 3"),
        ("index_features", [0, 1, 2], r"index_features\.txt and index_target\.txt share 1 entries, the first 2"),
        ("index_train_0", [], r"index_train_0\.txt: no rows of numbers"),
    ],
)
def test_index_files_that_are_refused(folder, name, index, message):
    write(folder / "toy" / "data", name, index)
    with pytest.raises(ValueError, match=message):
        load("uci/toy", folder)


def test_splits_that_are_refused(folder):
    data = folder / "toy" / "data"
    write(data, "index_train_0", range(20))
    write(data, "index_test_0", range(15, 30))
    with pytest.raises(ValueError, match=r"index_train_0\.txt and index_test_0\.txt share 5 entries, the first 15"):
        load("uci/toy", folder)
    write(data, "index_test_0", range(23, 30))
    with pytest.raises(ValueError, match="split 0 leaves out 3 of 30 rows, expected each row once"):
        load("uci/toy", folder)
    with pytest.raises(FileNotFoundError, match=r"no index_train_11\.txt in .*; splits there: 0, 1, 2, .*, 9, 10$"):
        load("uci/toy/11", folder)
    (data / "index_test_5.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file index_test_5\.txt in"):
        load("uci/toy/5", folder)


def test_table_that_is_refused(folder):
    (folder / "toy" / "data" / "data.txt").write_text("1 2 3 4\n5 nan 7 8\n")
    with pytest.raises(ValueError, match=r"data\.txt, line 2, column 2: expected a finite float32 number, got 'nan'"):
        load("uci/toy", folder)


def test_single_table(tmp_path):
    (tmp_path / "wing").mkdir()
    np.savetxt(tmp_path / "wing" / "wing.dat", VALUES, delimiter="\t", newline="\r\n")
    dataset = load("uci/wing", tmp_path)
    assert [split.inputs.shape for split in dataset[2:5]] == [(21, 3), (3, 3), (6, 3)]
    with pytest.raises(ValueError, match="has no data folder with index files, so no split 4; use uci/wing"):
        load("uci/wing/4", tmp_path)


def test_bikesharing_has_no_leaking_columns(tmp_path):
    (tmp_path / "bikesharing").mkdir()
    (tmp_path / "bikesharing" / "hour.csv").write_bytes(BIKES.replace("\n", "\r\n").encode())
    dataset = load("uci/bikesharing", tmp_path)
    assert dataset.input_shape == (1,)
    raw = np.concatenate([split.targets for split in dataset[2:5]]) * dataset.target_scale + dataset.target_mean
    np.testing.assert_allclose(raw.sum(), 99, rtol=1e-6)


def test_folders_that_are_refused(folder):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*yacht; .* holds: toy"):
        load("uci/yacht", folder)
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected data/data\.txt, or just one .* table loads as table/FILE"):
        load("uci/empty", folder)
    for name in ("day.csv", "hour.csv"):
        (folder / "empty" / name).touch()
    with pytest.raises(FileNotFoundError, match=r"just one \*\.dat or \*\.csv, in .*; .* holds: day\.csv, hour\.csv"):
        load("uci/empty", folder)
