"""The script, as a user runs it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asymjax.experiments.posterior.predictive_figures import plot_confusion
from asymjax.experiments.posterior.report import FIGURES
from asymjax.experiments.reports import conclude, write_report

SCRIPT = Path(__file__).parents[2] / "runs" / "report.py"


def report(*words, cwd):
    command = [sys.executable, SCRIPT, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def python(code, *words):
    """Run code and return which of these packages it imported."""
    code += "\nimport sys; print([name for name in ('jax', 'flax', 'matplotlib', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[-1]


def figure_files(folder):
    return {path.name for path in folder.iterdir() if path.suffix in (".png", ".pdf") and path.stat().st_size > 4000}


def test_importing_the_room_imports_no_jax():
    assert python("import asymjax.experiments.reports") == "['matplotlib', 'scipy']"


def test_help_imports_nothing_heavy():
    code = f"import runpy\ntry: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\nexcept SystemExit: pass"
    assert python(code, "--help") == "[]"


def test_two_tasks(make_run, tmp_path):
    paths = {task: make_run(task) for task in FIGURES}
    done = report(*paths.values(), "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for task, path in paths.items():
        assert figure_files(path / "figures") == {f"{name}.{kind}" for name in FIGURES[task] for kind in ("png", "pdf")}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.md"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.index("## Classification") < table.index("Brier") < table.index("## Regression") < table.index("RMSE")
    folders = [*(path / "figures" for path in paths.values()), tmp_path / "out"]
    assert done.stdout.splitlines()[-3:] == list(map(str, folders))


@pytest.fixture
def one_figure(monkeypatch):
    monkeypatch.setitem(FIGURES, "classification", {"confusion": plot_confusion})


def test_several_runs_of_one_task_are_compared(make_run, tmp_path, monkeypatch, capsys, one_figure):
    monkeypatch.chdir(tmp_path)
    paths = [make_run(), make_run(arch="sigma_asym")]
    write_report(paths)
    assert figure_files(Path("comparison")) == {"comparison-classification.png", "comparison-classification.pdf"}
    table = Path("comparison/table.md").read_text()
    assert f"- **sigma_asym**: `{paths[1]}`; `bnn_hmc.py --arch sigma_asym`; commit 0123abcd; 2 x cpu" in table
    assert capsys.readouterr().out.splitlines()[-1] == "comparison"


def test_one_run_leaves_its_table_beside_its_figures(make_run, tmp_path, monkeypatch, one_figure):
    monkeypatch.chdir(tmp_path)
    path = make_run()
    write_report([path])
    assert {file.name for file in (path / "figures").iterdir()} == {"confusion.png", "confusion.pdf", "table.md"}
    assert not Path("comparison").exists()


def test_a_run_ends_with_its_headline_its_verdict_and_its_figures(make_run, capsys, one_figure):
    path = make_run()
    assert conclude(path) == path
    out = capsys.readouterr().out
    assert "Test metrics" in out and "Convergence" in out and "Under shift" not in out
    assert out.splitlines()[-2:] == ["standard: Trust the predictions: made up.", f"figures: {path / 'figures'}"]
    assert {file.name for file in (path / "figures").iterdir()} == {"confusion.png", "confusion.pdf", "table.md"}
    assert "Under shift" in (path / "figures" / "table.md").read_text()


def test_a_grid_of_posteriors_is_compared(make_run, tmp_path, capsys, one_figure):
    grid = tmp_path / "grid"
    grid.mkdir()
    points = {"a": make_run.func(grid), "b": make_run.func(grid, arch="w_asym")}
    for file in ("config.json", "DONE"):
        shutil.copy(points["a"] / file, grid / file)
    record = json.loads((grid / "config.json").read_text())
    (grid / "config.json").write_text(json.dumps(record | {"experiment": "bnn_hmc_grid"}))
    (grid / "summary.json").write_text(json.dumps({"points": {path.name: {} for path in points.values()}}))
    conclude(grid)
    out = capsys.readouterr().out
    assert "w_asym: Trust" in out and "standard: Trust" in out
    assert "comparison-classification.png" in {file.name for file in (grid / "figures").iterdir()}
    assert all((path / "figures" / "confusion.png").exists() for path in points.values())


def test_broken_runs_are_one_message_and_leave_nothing(make_run, tmp_path):
    good, unfinished = make_run(), make_run(arch="w_asym")
    (unfinished / "DONE").unlink()
    done = report(good, unfinished, tmp_path / "nowhere", "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(unfinished) in done.stderr and "nowhere" in done.stderr
    assert not (good / "figures").exists() and not (tmp_path / "out").exists()


def test_no_run_is_an_error(tmp_path):
    done = report(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: give one run directory or more\n")
