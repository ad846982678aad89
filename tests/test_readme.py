"""What README promises: its lines of Python run."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALLER = {"num_draws=500": "num_draws=10, show_progress=False", "NUTS()": "NUTS(num_warmup=10, max_doublings=3)"}


def test_the_lines_of_python_run(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    for given, smaller in SMALLER.items():
        assert given in code
        code = code.replace(given, smaller)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["predictions"].shape == (4, 10, 142, 1)
    assert "DataTree" in capsys.readouterr().out


def test_readme_is_one_screen():
    assert len(README.splitlines()) <= 150 and len(README.split()) <= 1200
