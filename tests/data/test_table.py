"""Plain tables of numbers."""

import numpy as np
import pytest

from asymjax.data import load
from asymjax.data.assemble import count_repeated
from asymjax.data.table import TableConfig, read_table

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(20, 3)).round(3)


def text(separator=",", header="", end="\n"):
    return header + end.join(separator.join(map(str, row)) for row in VALUES.tolist()) + end


@pytest.mark.parametrize(
    "content",
    [
        text(","),
        text(", "),
        text("\t"),
        text(" \t", end=" \n"),
        text("   "),
        text(" ", end="\r\n\r\n"),
        text(",", "a,b,c\n"),
        text("\t", "first name\tsecond name\ttarget\n"),
        text(",", '"",b,c\n'),
        "\ufeff" + text(","),
        text(",")[:-1],
    ],
)
def test_formats(tmp_path, content):
    (tmp_path / "t").write_bytes(content.encode())
    np.testing.assert_array_equal(read_table(tmp_path / "t"), VALUES)


def test_last_column_is_the_target(tmp_path):
    (tmp_path / "t.csv").write_text(text())
    dataset = load("table/t.csv", tmp_path, data_seed=2)
    assert (dataset.task, dataset.input_shape, dataset.num_outputs) == ("regression", (2,), 1)
    assert [len(split.inputs) for split in dataset[2:5]] == [14, 2, 4]
    raw = [split.targets * dataset.target_scale + dataset.target_mean for split in dataset[2:5]]
    np.testing.assert_allclose(np.sort(np.concatenate(raw)[:, 0]), np.sort(VALUES[:, 2]), atol=1e-6)
    assert load("table/t.csv", tmp_path, data_seed=2).checksum == dataset.checksum
    assert load("table/t.csv", tmp_path, data_seed=3).checksum != dataset.checksum


def test_dropped_columns_may_hold_text(tmp_path):
    (tmp_path / "t").write_text("n,day,x,y\n1,2011-01-01,3,4\n2,2011-01-02,5,6\n")
    np.testing.assert_array_equal(read_table(tmp_path / "t", ("day", "n")), [[3, 4], [5, 6]])
    with pytest.raises(ValueError, match=r"t: no column 'hour'; the header has n, day, x, y, and"):
        read_table(tmp_path / "t", ("day", "hour"))
    (tmp_path / "t").write_text("1,2\n3,4\n")
    with pytest.raises(ValueError, match="t: no column 'day'; there is no header"):
        read_table(tmp_path / "t", ("day",))


ROWS = "".join(f"{i},{i * i % 7},{'ba'[i % 2]}\n" for i in range(10))


@pytest.mark.parametrize(
    ("content", "settings", "found"),
    [
        ("x,y,z\n" + ROWS, {}, ("classification", 2, 2, 10)),
        (ROWS, {}, ("classification", 2, 2, 10)),
        (ROWS, {"target": "2", "drop": ("3",)}, ("regression", 1, 1, 10)),
        (ROWS, {"target": "2", "drop": ("3",), "task": "classification"}, ("classification", 1, 4, 10)),
        ("2019_01,2019_02\n1,2\n3,4\n5,6\n", {}, ("regression", 1, 1, 3)),
        ("0,1,2\n1,2,3\n4,5,6\n7,8,9\n", {}, ("regression", 2, 1, 4)),
        ("0,1,2\n1,2,3\n4,5,6\n7,8,9\n", {"header": "yes"}, ("regression", 2, 1, 3)),
        (",x,y\n0,1,2\n1,3,4\n2,5,6\n", {}, ("regression", 1, 1, 3)),
        ('"a","b"\n"1","2"\n"3","4"\n"5","6"\n', {}, ("regression", 1, 1, 3)),
        ("a;b\n1;2\n3;4\n5;6\n", {"target": "a"}, ("regression", 1, 1, 3)),
    ],
)
def test_columns_header_and_task(tmp_path, content, settings, found):
    (tmp_path / "t").write_text(content)
    dataset = load("table/t", tmp_path, config=TableConfig(**settings))
    num_rows = sum(len(split.inputs) for split in dataset[2:5])
    assert (dataset.task, *dataset.input_shape, dataset.num_outputs, num_rows) == found
    if dataset.task == "classification":
        assert dataset.class_names in (("a", "b"), ("0", "1", "2", "4"))


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("NA,NA\n1,2\n3,4\n5,6\n", {}, "line 1, column 1: expected a finite float32 number, got 'NA'"),
        ("12_34,1\n3,4\n5,6\n", {}, "line 1, column 1: expected a finite float32 number, got '12_34'"),
        ("1,a\n2,NA\n3,b\n", {}, "line 2, column 2: expected a class, got 'NA'"),
        ("1,a\n2,a\n3,a\n", {}, "column 2 has one class, 'a'"),
        ("1,2\n,\n3,4\n", {}, "line 2, column 1: expected a finite float32 number, got ''"),
        ("x,x\n1,2\n3,4\n", {}, "the header has 'x' twice"),
        ("x,y\n1,2\n3,4\n", {"target": "z"}, "no column 'z'; the header has x, y, and numbers go from 1 to 2"),
        ("1,2\n3,4\n", {"target": "3"}, "no column '3'; there is no header, and numbers go from 1 to 2"),
        ("x,y,z\n1,2,3\n", {"target": "z", "drop": ("z",)}, "expected at least one feature and the target"),
        (ROWS, {"task": "regression"}, "line 1, column 3: expected a finite float32 number, got 'b'"),
        (ROWS.replace("3,2,a", '3,2,"a'), {}, "line 4: unexpected end of data; close the quotes of each cell"),
        (ROWS.replace("3,2,a", '3,2,"a"b'), {}, "line 4: ',' expected after '\"'; close the quotes"),
        (ROWS + "1,2," + "a" * 200_000, {}, "line 11: field larger than field limit"),
        ("1,a\n2,b\0\n3,c\n", {}, "line 2: zero bytes"),
        ("1,1\n2,1.0\n3,2\n", {"task": "classification"}, "column 2 has '1.*' and '1.*', one number; write one of"),
        ("a,b\n1,2\n", {"header": "no"}, "line 1, column 1: expected a finite float32 number, got 'a'"),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path, content, settings, message):
    (tmp_path / "t").write_text(content)
    with pytest.raises(ValueError, match=message):
        load("table/t", tmp_path, config=TableConfig(**settings))


def test_settings_of_tables_are_of_tables_alone():
    with pytest.raises(ValueError, match="digits is no table/FILE, so target, task, header and drop have no effect"):
        load("digits", config=TableConfig(target="1"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2,3\n\n4,5\n", "t, line 3: 2 fields, expected 3"),
        ("1 2 3\n4 5 6 7\n", "t, line 2: 4 fields, expected 3"),
        ("a b\n1 2 3\n", "t, line 2: 3 fields, expected 2"),
        ("1\t2\t3\n4\t\t6\n", "t, line 2, column 2: expected a finite float32 number, got ''"),
        ("1,2\n3,x\n", "t, line 2, column 2: expected a finite float32 number, got 'x'"),
        ("1,2\n3,nan\n", "t, line 2, column 2: expected a finite float32 number, got 'nan'"),
        ("a,b\n\n-inf,2\n", "t, line 3, column 1: expected a finite float32 number, got '-inf'"),
        ("1,2\n1e39,4\n", "t, line 2, column 1: expected a finite float32 number, got '1e39'"),
        ("l,2\n3,4\n", "t, line 1, column 1: expected a finite float32 number, got 'l'"),
        ("a,b\n", "t: no rows of numbers"),
        ("\n\n", "t: no rows of numbers"),
        ("1\n2\n3\n", "t: 1 column, expected at least one feature and the target"),
        ("1,2\n3,4\n", "table/t: 2 rows, expected at least 3"),
    ],
)
def test_refused(tmp_path, content, message):
    (tmp_path / "t").write_text(content)
    with pytest.raises(ValueError, match=message):
        load("table/t", tmp_path)


def test_not_text(tmp_path):
    (tmp_path / "t").write_bytes(b"\xff\xfe1\x00,\x002\x00")
    with pytest.raises(ValueError, match="t: not a text file in UTF-8"):
        load("table/t", tmp_path)


def test_missing(tmp_path):
    for i in range(14):
        (tmp_path / f"a{i:02}").touch()
    with pytest.raises(FileNotFoundError, match=r"there is no file b\.csv in .* holds: a00, .*, a11 and 2 more"):
        load("table/b.csv", tmp_path)


def test_rows_that_are_in_two_splits_are_counted(tmp_path):
    (tmp_path / "t").write_text("".join(f"{i % 5},{i % 5}\n" for i in range(40)))
    assert count_repeated(load("table/t", tmp_path)) == 8
    (tmp_path / "u").write_text("".join(f"{i},{i}\n" for i in range(40)))
    assert count_repeated(load("table/u", tmp_path)) == 0
