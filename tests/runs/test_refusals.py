"""What the scripts refuse, in one line that says what to do."""

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from asymjax.lab import command_line
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import BACKBONES
from asymjax.models.methods import METHODS

SCRIPT = Path(__file__).parents[2] / "runs" / "bnn_hmc.py"


@dataclass(frozen=True)
class Settings:
    """The least that a script has."""

    run: RunConfig = field(default_factory=RunConfig)


@pytest.fixture
def refuse(monkeypatch, capsys, tmp_path):
    """Return a function that runs the script and returns its refusal as one line."""
    spec = importlib.util.spec_from_file_location("bnn_hmc", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bnn_hmc", script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(command_line, "start_jax", lambda run: None)

    def refuse(*words, out=("--out", tmp_path)):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--widths", "4", *map(str, (*out, *words))])
        with pytest.raises(SystemExit) as ended:
            command_line.run(script.main, script.PRESETS, script.__doc__)
        assert ended.value.code == command_line.EXIT_INPUT
        message = capsys.readouterr().err
        assert message.startswith("error: ") or "Value error" in message  # The latter is the parser's, in a frame.
        return " ".join(message.replace("│", " ").split())

    return refuse


@pytest.mark.parametrize(
    ("flag", "known"),
    [
        ("--arch", METHODS),
        ("--backbone", BACKBONES),
        ("--dataset", ["digits", "mnist", "uci/"]),
        ("--preset", ["default", "smoke"]),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(refuse, flag, known):
    message = refuse(flag, "nonsense")
    assert f"unknown {flag[2:]} 'nonsense', choose from " in message
    assert all(name in message for name in known)


def test_graphs_have_no_posterior_run(refuse):
    assert "digits_graph is a graph, which has no noise inputs" in refuse("--dataset", "digits_graph")


def test_chains_that_cannot_share_starts_are_refused_with_both_numbers(refuse):
    assert "4 chains cannot share starts 3 at a time" in refuse("--chains-per-start", 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-warmup", 0], "num_warmup is 0; give a number in [1, 1e+09]"),
        (["--num-draws", 7], "7 draws; convergence takes 8 draws at least"),
    ],
)
def test_chains_that_are_too_short_are_refused_before_any_work(refuse, tmp_path, words, message):
    assert message in refuse(*words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "temperature=1,0"], "temperature is 0.0; give a number in [1e-15, 1e+15]"),
        (["--grid", "prior_scale=1,-1"], "prior_scale is -1.0; give a number in [1e-15, 1e+15]"),
        (["--temperature", 0], "temperature is 0.0; give a number in [1e-15, 1e+15]"),
        (["--grid", "num_epochs=3"], "unknown setting of a grid 'num_epochs', choose from arch, backbone"),
        (["--grid", "temperature=1,2", "noise_scale=1,2"], "noise_scale, which has no effect here"),
        (["--grid", "num_draws=40,4"], "4 draws; convergence takes 8 draws at least"),
    ],
)
def test_grids_that_cannot_be_are_refused_before_any_work(refuse, tmp_path, words, message):
    assert message in refuse(*words)
    assert not list(tmp_path.iterdir())


def test_a_command_without_a_word_takes_the_defaults():
    assert command_line.parse({"default": Settings()}, "", []) == Settings()


def test_an_interrupt_ends_at_once_whatever_threads_do(monkeypatch, capsys):
    class Ended(BaseException):
        pass

    def exit_now(code):
        raise Ended(code)

    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "start_jax", lambda run: None)
    monkeypatch.setattr(os, "_exit", exit_now)
    monkeypatch.setattr(sys, "argv", ["script"])
    with pytest.raises(Ended, match=str(command_line.EXIT_INTERRUPTED)):
        command_line.run(interrupted, {"default": Settings()}, "")
    assert "run the same command to go on" in capsys.readouterr().err


def test_devices_that_do_not_divide_are_refused_with_both_numbers(refuse, monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 4)
    assert "3 devices do not divide 4 networks or chains" in refuse("--num-devices", 3)


def test_a_place_that_cannot_be_written_is_refused(refuse, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert str(blocked) in refuse(out=("--out", blocked))
