"""Settings: every number has a range, every name its choices, and what lies outside is refused by name."""

import dataclasses
import math
import runpy
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

import asymjax.experiments.compare_posteriors.config
import asymjax.experiments.linear_connectivity.config
import asymjax.experiments.monotonic_interpolation.config
import asymjax.experiments.posterior.config
import asymjax.experiments.train_sweep.config
from asymjax.errors import InputError
from asymjax.settings import Range, Settings, kinds_of

VALUES = (-1, 0, 0.5, 2, 10**12, 2**70, 1e300, -1e300, math.nan, math.inf, -math.inf)
FREE = {("VariedConfig", "values"), ("VariantsConfig", "values")}
"""Numbers that mean one thing or another."""


def subclasses(cls):
    return {cls} | {inner for one in cls.__subclasses__() for inner in subclasses(one)}


def inside(kind):
    yield kind
    for inner in get_args(kind):
        yield from inside(inner)


def numbers():
    """Return class, setting, range and whether it is whole, of every number of the package's settings."""
    for cls in sorted(subclasses(Settings), key=lambda cls: cls.__qualname__):
        hints = get_type_hints(cls, include_extras=True) if cls.__module__.startswith("asymjax") else {}
        for name in kinds_of(cls) if hints else ():
            kinds = list(inside(hints[name]))
            if {int, float} & set(kinds):
                ranges = [one for kind in kinds if get_origin(kind) is Annotated for one in kind.__metadata__]
                yield cls, name, [one for one in ranges if isinstance(one, Range)], float not in kinds


NUMBERS = list(numbers())


def test_every_number_has_a_range():
    assert len(NUMBERS) > 100
    assert {(cls.__name__, name) for cls, name, ranges, _ in NUMBERS if not ranges} == FREE


@pytest.mark.parametrize("value", VALUES)
def test_a_number_is_refused_by_name_where_it_lies_outside(value):
    for cls, name, ranges, is_whole in NUMBERS:
        least, most, brackets = ranges[0] if ranges else (-math.inf, math.inf, "()")
        is_edge = (value == least and brackets[0] == "(") or (value == most and brackets[1] == ")")
        is_inside = math.isfinite(value) and least <= value <= most and not is_edge
        if is_inside and (isinstance(value, int) or not is_whole):
            cls(**{name: value})
        else:
            kind = "a whole number" if is_inside else "a number"
            with pytest.raises(InputError, match=rf"^{name} is .*; give {kind} in [\[(].*, .*[\])]$"):
                cls(**{name: value})


def test_what_is_no_number_is_refused_by_name():
    for cls, name, ranges, _ in NUMBERS:
        for value in ("20", True, [20], 20j) if ranges else ():
            with pytest.raises(InputError, match=rf"^(unknown )?{name} "):
                cls(**{name: (value,) if isinstance(value, list) else value})


def test_a_name_is_one_of_its_choices():
    for cls, name, wrong in (
        (asymjax.NormalPrior, "scaling", "fan-in"),
        (asymjax.HMC, "mass_matrix", "unit"),
        (asymjax.Gaussian, "noise", "none"),
        (asymjax.Start, "start", "random"),
        (asymjax.SigmaAsym, "gate_scale", "sqrt"),
    ):
        with pytest.raises(InputError, match=f"unknown {name} '{wrong}', choose from "):
            cls(**{name: wrong})


def test_what_is_traced_is_not_checked():
    import jax

    from asymjax.train.optimizers import OptimizerConfig, with_values

    def rate(value):
        return with_values(OptimizerConfig(), {"learning_rate": value}).learning_rate

    assert jax.jit(rate)(-1.0) == -1.0


def parts_of(settings):
    yield settings
    for one in dataclasses.fields(settings):
        value = getattr(settings, one.name)
        if dataclasses.is_dataclass(value):
            yield from parts_of(value)


@pytest.mark.parametrize(
    "script", sorted((Path(__file__).parents[1] / "runs").glob("*.py")), ids=lambda path: path.stem
)
def test_every_number_of_every_script_is_one_of_these(script):
    presets = runpy.run_path(str(script)).get("PRESETS", {})
    assert presets or script.stem == "report"
    for part in (part for preset in presets.values() for part in parts_of(preset)):
        assert isinstance(part, Settings), f"{script.stem}: {type(part).__name__} checks nothing"
