"""Pickles may name the listed globals and nothing else."""

import collections
import os
import pickle

import numpy as np
import pytest

from asymjax.data.pickles import load_pickle


class Malicious:
    """Its pickle runs a shell command when it is loaded by the standard loader."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_content_round_trips(tmp_path, protocol):
    content = {"a": [1, 2.5, None, "ä"], "b": (np.arange(6).reshape(2, 3), np.ones(2, np.float32)), "c": b"\xff\x00"}
    (tmp_path / "f").write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = load_pickle(tmp_path / "f")
    assert loaded["a"] == content["a"]
    assert loaded["c"] == content["c"]
    for array, expected in zip(loaded["b"], content["b"], strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.parametrize("protocol", range(6))
def test_no_command_runs(tmp_path, protocol):
    target = tmp_path / "ran"
    (tmp_path / "f").write_bytes(pickle.dumps({"data": Malicious(f"touch {target}")}, protocol=protocol))
    with pytest.raises(ValueError, match=r"f: this pickle is refused or damaged: it asks for (posix|nt)\.system"):
        load_pickle(tmp_path / "f")
    assert not target.exists()


@pytest.mark.parametrize(
    "stored", [b"cbuiltins\neval\n.", b"c__builtin__\nopen\n.", b"cnumpy\nload\n.", b"cnumpy\ndtype.mro\n."]
)
def test_other_globals_are_named(tmp_path, stored):
    (tmp_path / "f").write_bytes(stored)
    module, name = stored[1:-2].decode().split("\n")
    with pytest.raises(ValueError, match=rf"asks for {module}\.{name}, which is not among numpy\.ndarray"):
        load_pickle(tmp_path / "f")


def test_only_latin1_bytes(tmp_path):
    (tmp_path / "f").write_bytes(b"c_codecs\nencode\n(VAAAA\nVrot13\ntR.")
    with pytest.raises(ValueError, match="bytes are written in rot13, expected latin1"):
        load_pickle(tmp_path / "f")


def test_caller_admits_more(tmp_path):
    (tmp_path / "f").write_bytes(pickle.dumps(collections.OrderedDict(a=1)))
    with pytest.raises(ValueError, match=r"collections\.OrderedDict"):
        load_pickle(tmp_path / "f")
    admitted = {"collections.OrderedDict": collections.OrderedDict}
    assert load_pickle(tmp_path / "f", admitted) == collections.OrderedDict(a=1)


def test_damaged_pickles(tmp_path):
    content = pickle.dumps({"data": np.arange(100)})
    for damaged in (content[:-1], content[:30], b"", b"\x00\x01\x02"):
        (tmp_path / "f").write_bytes(damaged)
        with pytest.raises(ValueError, match="f: this pickle is refused or damaged"):
            load_pickle(tmp_path / "f")
    (tmp_path / "f").write_bytes(content + b"xyz")
    with pytest.raises(ValueError, match="f: 3 trailing bytes after the pickle"):
        load_pickle(tmp_path / "f")
