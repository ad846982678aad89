import errno
import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest

import asymjax
from asymjax.errors import InputError
from asymjax.inference.samplers import HMC
from asymjax.lab import processes, results, run_files, rundir
from asymjax.lab.results import open_results
from asymjax.lab.run_config import RunConfig
from asymjax.lab.run_files import to_json
from asymjax.lab.rundir import config_hash, open_run, provenance, require_space
from asymjax.tree_paths import differences

SCIENTIFIC = {"hmc": HMC(), "data": {"dataset": "digits", "data_seed": 0}}
STATE = {"position": np.arange(3.0), "step": np.array(4)}


@pytest.fixture
def run_config(tmp_path):
    return RunConfig(out=tmp_path, progress=False)


@pytest.fixture
def run(run_config):
    opened = open_run("trial", "mlp", SCIENTIFIC, run_config)
    yield opened
    opened._lock.close()


def test_hash_ignores_order_and_sees_every_value():
    assert config_hash(SCIENTIFIC) == config_hash(dict(reversed(SCIENTIFIC.items())))
    assert config_hash(SCIENTIFIC) != config_hash(SCIENTIFIC | {"hmc": HMC(num_warmup=501)})


def test_differences_name_the_fields():
    old, new = (to_json({"hmc": HMC(num_warmup=n), "seed": 0}) for n in (5, 6))
    assert differences(old, old) == []
    assert differences(old, new | {"more": 1}) == ["hmc/num_warmup: 5 -> 6", "more: None -> 1"]


def test_directory_is_named_by_experiment_model_and_hash(run, tmp_path):
    assert run.path == tmp_path / "trial" / f"mlp-{config_hash(SCIENTIFIC)}"
    assert run.record["config"]["data"] == SCIENTIFIC["data"]
    assert {"command", "commit", "versions", "device"} <= run.record["provenance"].keys()


def test_a_source_tree_that_nobody_installed_has_a_version(monkeypatch):
    def find(name):
        if name == "asymjax":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(processes, "version", find)
    assert provenance()["versions"]["asymjax"] == asymjax.__version__


def test_a_directory_in_use_is_refused(run, run_config):
    with pytest.raises(InputError, match="in use by another process"):
        open_run("trial", "mlp", SCIENTIFIC, run_config)


def test_another_configuration_is_refused_with_its_fields(run, run_config):
    run._lock.close()
    config = replace(run_config, run_dir=run.path)
    other = SCIENTIFIC | {"hmc": HMC(thinning=3)}
    with pytest.raises(InputError, match=r"another configuration; it differs in\n  hmc/thinning: 1 -> 3\n"):
        open_run("trial", "mlp", other, config)
    forced = open_run("trial", "mlp", other, replace(config, force=True))
    assert forced.record["config"]["hmc"]["thinning"] == 3
    forced._lock.close()


@pytest.mark.parametrize("damaged", [b'{"config": {', b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_record_is_refused_with_what_to_do(run, run_config, damaged):
    run._lock.close()
    (run.path / "config.json").write_bytes(damaged)
    with pytest.raises(InputError, match=r"config.json is damaged; restore it, or begin anew with --force"):
        open_run("trial", "mlp", SCIENTIFIC, run_config)


def test_where_a_profile_lies_is_said(run_config, monkeypatch, capsys):
    monkeypatch.setattr("jax.profiler.trace", lambda folder: nullcontext())
    run = open_run("trial", "mlp", SCIENTIFIC, replace(run_config, profile=True))
    for _ in range(2):
        with run.profiled("train"):
            pass
    run._lock.close()
    assert capsys.readouterr().out == f"train: its first chunk is traced in {run.path / 'profile' / 'train'}\n"


def test_a_finished_run_is_refused_and_forced_from_the_start(run, run_config):
    run.commit("train", 1, 1, STATE)
    run.finish(lambda: ({"accuracy": np.float32(0.5)}, {}))
    run._lock.close()
    assert json.loads((run.path / "summary.json").read_text()) == {"accuracy": 0.5}
    with pytest.raises(InputError, match="is finished"):
        open_run("trial", "mlp", SCIENTIFIC, run_config)
    again = open_run("trial", "mlp", SCIENTIFIC, replace(run_config, force=True))
    assert again.restore("train", STATE) == (0, None)
    again._lock.close()


@pytest.mark.parametrize("odd", ["a*b", "[x]", "a?b", "a\\b", "caf\udce9"])
def test_paths_by_which_nothing_is_found_again_are_refused(run_config, tmp_path, odd):
    with pytest.raises(InputError, match="in it, by which checkpoints cannot be read again"):
        open_run("trial", "mlp", SCIENTIFIC, replace(run_config, run_dir=tmp_path / odd))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["thesis.txt", "config.json"])
@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_begun_or_deleted_where_something_else_lies(run_config, tmp_path, name, force):
    keepsake = tmp_path / "precious" / name
    keepsake.parent.mkdir()
    keepsake.write_text('{"model": "of another program"}')
    with pytest.raises(InputError, match=f"is not a run directory: it holds {name}"):
        open_run("trial", "mlp", SCIENTIFIC, replace(run_config, run_dir=keepsake.parent, force=force))
    assert list(keepsake.parent.iterdir()) == [keepsake]


def test_checkpoints_without_their_record_are_not_gone_on_from(run, run_config):
    run.commit("train", 1, 2, STATE)
    run._lock.close()
    (run.path / "config.json").unlink()
    with pytest.raises(InputError, match="it holds checkpoints, and no"):
        open_run("trial", "mlp", SCIENTIFIC, replace(run_config, run_dir=run.path))


def test_force_unlinks_what_lies_elsewhere(run, run_config, tmp_path):
    run._lock.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.path / "figures").symlink_to(elsewhere)
    open_run("trial", "mlp", SCIENTIFIC, replace(run_config, force=True))._lock.close()
    assert elsewhere.is_dir()
    assert not (run.path / "figures").exists()


def test_what_was_committed_comes_back_and_what_lies_beyond_is_written_anew(run, run_config):
    def draws(index):
        return {"logdensity": np.full((2, 1), float(index)), "position/bias": np.full((2, 1, 3), float(index))}

    run.commit("warmup", 1, 1, STATE, metrics={"rate": 0.5})
    for chunk in (1, 2):
        run.commit("sample", chunk, 3, STATE | {"step": np.array(chunk)}, draws(chunk), {"rate": 1.0})
    run.write_draws("what was killed before its checkpoint", 2, 3, draws(-1))
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"phase": "sample", "chunk": 2}\n{"phase": "sam')
    run._lock.close()
    again = open_run("trial", "mlp", SCIENTIFIC, run_config)
    done, state = again.restore("sample", STATE)
    assert (done, state["step"]) == (2, 2)
    np.testing.assert_array_equal(state["position"], STATE["position"])
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["chunk"]) for line in lines] == [("warmup", 0), ("sample", 0), ("sample", 1)]
    again.commit("sample", 3, 3, STATE, draws(3))
    tree = open_results(run.path)
    np.testing.assert_array_equal(tree["sample_stats/lp"], [[1, 2, 3]] * 2)
    assert tree["posterior/bias"].dims == ("chain", "draw", "bias_dim_0")
    assert not (run.path / "DONE").exists()
    again._lock.close()


def lose(path):
    path.unlink()


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def scribble(path):
    path.write_bytes(bytes(range(256)))


def draws_of(chunk):
    return {"logdensity": np.full((2, 1), float(chunk)), "position/bias": np.full((2, 1, 3), float(chunk))}


def committed(run, num_chunks=4):
    """Commit warmup and chunks of draws, and let the run go."""
    run.commit("warmup", 1, 1, STATE, metrics={"rate": 0.5})
    for chunk in range(1, num_chunks):
        run.commit("sample", chunk, num_chunks, STATE | {"step": np.array(chunk)}, draws_of(chunk), {"rate": 1.0})
    run._lock.close()


@pytest.mark.parametrize(
    ("file", "harm", "done"),
    [
        ("posterior/bias/c/0/2/0", lose, 2),
        ("posterior/bias/c/0/2/0", cut, 2),
        ("posterior/bias/c/0/2/0", scribble, 2),
        ("posterior/bias/c/0/1/0", lose, 0),  # Two checkpoints are kept, of chunks 2 and 3.
        ("sample_stats/lp/c/0/0", cut, 0),
        ("sample_stats/lp/zarr.json", scribble, 0),
        ("sample_stats/lp", shutil.rmtree, 0),
        ("zarr.json", scribble, 0),
        ("", shutil.rmtree, 0),
    ],
)
def test_draws_that_are_lost_are_drawn_again_from_the_checkpoint_before(run, run_config, capsys, file, harm, done):
    committed(run)
    harm(run.path / "results.zarr" / file)
    again = open_run("trial", "mlp", SCIENTIFIC, run_config)
    assert again.restore("warmup", STATE)[0] == 1
    found, state = again.restore("sample", STATE, has_draws=True)
    assert found == done and (done == 0 or state["step"] == done)
    told = capsys.readouterr().err
    assert (
        "/".join(file.split("/")[:2]) in told or done == 0
    ) and f"sample: drawn again from chunk {done + 1} on" in told
    assert [line["chunk"] for line in run_files.read_metrics(run.path)] == [0, *range(done)]
    again.commit("sample", done + 1, 4, STATE, draws_of(done + 1))
    assert results.count_whole_chunks(run.path, done + 1) == (done + 1, "")
    again._lock.close()


def test_draws_that_are_nan_are_drawn_again(run, run_config, capsys):
    committed(run)
    results.write_rows(run.path, "posterior", {"draw": 2}, {"bias": np.full((2, 1, 3), np.nan)})
    again = open_run("trial", "mlp", SCIENTIFIC, run_config)
    assert again.restore("sample", STATE, has_draws=True)[0] == 2
    assert "posterior/bias holds NaN among its draws" in capsys.readouterr().err
    again._lock.close()


@pytest.mark.parametrize(
    ("harm", "lost"),
    [(lose, "does not exist"), (cut, "lacks chunk 2 of sample"), (scribble, "lacks chunk 1 of sample")],
)
def test_metrics_that_are_lost_are_named(run, run_config, harm, lost):
    committed(run)
    harm(run.path / "metrics.jsonl")
    again = open_run("trial", "mlp", SCIENTIFIC, run_config)
    with pytest.raises(InputError, match=f"metrics.jsonl {lost}"):
        again.restore("sample", STATE, has_draws=True)
    again._lock.close()


@pytest.mark.parametrize("harm", [cut, scribble])
def test_a_damaged_checkpoint_is_named(run, run_config, harm):
    committed(run)
    for file in (run.path / "checkpoints" / "sample" / "3").rglob("*"):
        if file.is_file():
            harm(file)
    again = open_run("trial", "mlp", SCIENTIFIC, run_config)
    with pytest.raises(InputError, match=r"checkpoints/sample/3 cannot be read .* delete that folder to go on"):
        again.restore("sample", STATE, has_draws=True)
    shutil.rmtree(run.path / "checkpoints" / "sample" / "3")
    again._lock.close()
    again = open_run("trial", "mlp", SCIENTIFIC, run_config)
    assert again.restore("sample", STATE, has_draws=True)[0] == 2
    again._lock.close()


def test_draws_that_were_not_made_are_no_draws(run):
    run.commit("sample", 1, 2, STATE, {"logdensity": np.ones((2, 1))})
    with pytest.raises(InputError, match=r"sample_stats/lp/c/0/1 is not there: it is lost or not written yet"):
        open_results(run.path)["sample_stats/lp"].load()


def test_another_checksum_is_refused(run):
    run.identify(frozen="a" * 64)
    run.identify(frozen="a" * 64, dataset="b" * 64)
    with pytest.raises(InputError, match="the checksum of dataset is cccccccccccc, the run began with bbbbbbbbbbbb"):
        run.identify(frozen="a" * 64, dataset="c" * 64)


def test_a_full_disk_loses_nothing(run, monkeypatch):
    run.commit("sample", 1, 2, STATE, {"logdensity": np.ones((2, 1))})

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results, "_sync", full)
    with pytest.raises(InputError, match=r"chunk 2 of sample cannot be written \(No space left on device\)"):
        run.commit("sample", 2, 2, STATE, {"logdensity": np.ones((2, 1))})
    assert run.restore("sample", STATE)[0] == 1
    np.testing.assert_array_equal(open_results(run.path)["sample_stats/lp"][:, 0], [1, 1])


def test_what_the_disk_cannot_hold_is_refused(tmp_path):
    require_space(tmp_path, 1)
    with pytest.raises(InputError, match="MB free, this run needs about 1,000,000,000,000 MB"):
        require_space(tmp_path, 10**18)


def test_what_was_settled_when_a_run_began_stays(run):
    assert run.settle("round_size", 4) == 4
    assert run.settle("round_size", 8) == 4
    assert run.settle("train_epochs_per_chunk", 26) == 26


def test_what_cannot_be_is_not_settled(run):
    def refuse(size):
        raise InputError(f"3 devices do not divide {size}")

    with pytest.raises(InputError, match="do not divide 16"):
        run.settle("round_size", 16, refuse)
    assert run.settle("round_size", 12) == 12


def test_processes_compare_a_mark_of_their_directory(run_config, monkeypatch):
    marks = []
    monkeypatch.setattr(rundir.processes, "agree", lambda what, values: marks.append(values.get(".lock")))
    first = open_run("trial", "mlp", SCIENTIFIC, run_config)
    with pytest.raises(InputError, match="in use"):
        open_run("trial", "mlp", SCIENTIFIC, run_config)
    assert (first.path / ".lock").read_text() == marks[1]  # Whoever is refused leaves it as it is.
    first._lock.close()
    open_run("trial", "mlp", SCIENTIFIC, run_config)._lock.close()
    assert marks[1] and marks[-1] and marks[1] != marks[-1]


def test_metrics_of_processes_are_put_together(run):
    lines = {
        0: [
            {"phase": "train", "chunk": 0, "epoch": 5, "loss": [1.0, 2.0]},
            {"phase": "train", "chunk": 1, "loss": [0.5]},
        ],
        2: [{"phase": "train", "chunk": 0, "epoch": 5, "loss": [4.0]}],
        10: [{"phase": "train", "chunk": 0, "epoch": 5, "loss": [5.0]}],
        1: [{"phase": "train", "chunk": 0, "epoch": 5, "loss": [3.0]}],  # The run goes on with fewer processes.
    }
    for process, entries in lines.items():
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        (run.path / run_files.metrics_file(process)).write_text(text)
    assert run_files.read_metrics(run.path) == [
        {"phase": "train", "chunk": 0, "epoch": 5, "loss": [1.0, 2.0, 3.0, 4.0, 5.0]},
        {"phase": "train", "chunk": 1, "loss": [0.5]},
    ]
