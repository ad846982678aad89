"""What a program takes of memory: an estimate from its trace, before it is compiled, and what the compiler says.

The estimate goes through the equations in order and adds up what is alive: arguments and results all the time, and
temporaries from where they are made to where they are used last. XLA fuses chains of elementwise operations into one
pass, so a temporary takes memory only where something else needs it whole (matrix products, loops, scatters), where it
is a reduction, or where it is used more than once and dear to compute again; a fused one keeps alive what it is made
from. Loops update what they carry in place.
"""

import os
import resource
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax.errors import InputError

CALLS = ("jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2")
LOOPS = ("scan", "while", "cond", "shard_map")
NEEDS_WHOLE = (*LOOPS, "dot_general", "conv_general", "scatter", "sort", "concatenate", "random_", "top_k", "fft")
REDUCES = ("reduce_", "arg", "gather", "cum")
MARGIN = 1.5  # Times the memory that there is; estimates are not exact, and machines swap.
THREEFRY_COPIES = 5  # Counters and what its rounds carry, two words each for one of random bits, beside the result.
DEAR = ("tanh", "logistic", "exp", "log", "erf", "div", "sqrt", "rsqrt", "pow", "sin", "cos", "wide")


class Value:
    """One value of a program once calls are inlined, where a variable of a jaxpr may stand for several."""

    def __init__(self, dtype: Any, size: int):
        self.dtype, self.size = dtype, size
        self.num_bytes = size * getattr(dtype, "itemsize", 8)


def _value(variable: Any) -> Value:
    return Value(variable.aval.dtype, int(np.prod(variable.aval.shape)))


class Equation(NamedTuple):
    """One operation."""

    name: str
    inputs: list[Value]
    outputs: list[Value]
    params: dict[str, Any]


def _opened(jaxpr: Any) -> Any:
    return jaxpr.jaxpr if hasattr(jaxpr, "consts") else jaxpr


def _body(eqn: Any) -> Any:
    """Return the jaxpr that an equation calls, or None; of a choice by platform, that of the one at hand."""
    if platforms := eqn.params.get("branches_platforms"):
        chosen = next(i for i, names in enumerate(platforms) if names is None or jax.default_backend() in names)
        return _opened(eqn.params["branches"][chosen])
    return next((_opened(value) for value in eqn.params.values() if hasattr(value, "eqns")), None)


def _is_call(eqn: Any) -> bool:
    return eqn.primitive.name in CALLS or eqn.params.get("branches_platforms") is not None


def _inline(jaxpr: Any, known: dict[Any, Value]) -> tuple[list[Equation], list[Value]]:
    """Return the equations of a jaxpr, those of calls in their place, and its results; ``known`` are its inputs."""

    def read(variable: Any) -> Value:
        return _value(variable) if hasattr(variable, "val") else known.setdefault(variable, _value(variable))

    equations: list[Equation] = []
    wide: dict[tuple[Value, int], Value] = {}
    for eqn in jaxpr.eqns:
        inputs = [read(variable) for variable in eqn.invars]
        body = _body(eqn) if _is_call(eqn) else None
        if body is not None:
            own = inputs[len(inputs) - len(body.invars) :]  # A choice is told first which it is.
            inner, outputs = _inline(body, dict(zip(body.invars, own, strict=True)))
            equations += inner
            known.update(zip(eqn.outvars, outputs, strict=True))
        else:
            outputs = [read(variable) for variable in eqn.outvars]
            if outputs and not eqn.primitive.name.startswith(NEEDS_WHOLE + REDUCES):
                inputs = [_broadcast(value, outputs[0], wide, equations) for value in inputs]
            equations.append(Equation(eqn.primitive.name, inputs, outputs, eqn.params))
    return equations, [read(variable) for variable in jaxpr.outvars]


def _broadcast(value: Value, like: Value, wide: dict, equations: list[Equation]) -> Value:
    if value.size in (1, like.size) or like.size < value.size:
        return value
    if (value, like.size) not in wide:
        wide[value, like.size] = made = Value(value.dtype, like.size)
        equations.append(Equation("wide", [value], [made], {}))
    return wide[value, like.size]


def _without_dead(equations: list[Equation], results: list[Value]) -> list[Equation]:
    used, kept = set(results), []
    for equation in reversed(equations):
        if used.intersection(equation.outputs):
            used.update(equation.inputs)
            kept.append(equation)
    return kept[::-1]


def _carried(equation: Equation) -> list[Value]:
    """Return what a loop carries, as its inputs."""
    params = equation.params
    if equation.name == "scan":
        return equation.inputs[params["num_consts"] :][: params["num_carry"]]
    return equation.inputs[params["cond_nconsts"] + params["body_nconsts"] :] if equation.name == "while" else []


def _inside(equation: Equation) -> int:
    """Return the bytes that an operation takes beside its inputs and outputs."""
    params = equation.params
    if equation.name == "scan":
        body = _opened(params["jaxpr"])
        return _peak(body, body.invars[params["num_consts"] :]) - _num_bytes(_carried(equation))
    if equation.name == "while":
        body = _opened(params["body_jaxpr"])
        return _peak(body, body.invars[params["body_nconsts"] :]) - _num_bytes(_carried(equation))
    if equation.name == "cond":
        return max(_peak(_opened(branch), []) for branch in params["branches"]) - _num_bytes(equation.outputs)
    if equation.name == "random_bits":
        return THREEFRY_COPIES * _num_bytes(equation.outputs)
    return 0


def _num_bytes(values: Sequence[Value]) -> int:
    return sum(value.num_bytes for value in values)


def _lifetimes(equations: list[Equation], results: list[Value], owned: list[Value]) -> dict[Value, int]:
    """Return the index of the last use of every value that takes memory."""
    whole = {v for equation in equations if equation.name.startswith(NEEDS_WHOLE) for v in equation.inputs}
    num_uses = Counter(v for equation in equations for v in set(equation.inputs))
    last, made_from = dict.fromkeys(owned, -1), {value: {value} for value in owned}
    for index, (name, inputs, outputs, _) in enumerate(equations):
        sources = set().union(*(made_from.get(v, ()) for v in inputs))
        last |= dict.fromkeys(sources, index)
        for value in outputs:
            is_kept = name.startswith(NEEDS_WHOLE + REDUCES) or (num_uses[value] > 1 and name in DEAR)
            if name not in ("reshape", "squeeze") and (is_kept or value in whole or value in results):
                last[value], made_from[value] = index, {value}
            else:
                made_from[value] = sources
    return last | {source: len(equations) for value in results for source in made_from.get(value, ())}


def _hoisted(equations: list[Equation], constants: Sequence[Value]) -> set[Value]:
    """Return what XLA makes once before a loop: what depends on constants alone and is no larger, as a transpose."""
    fixed: set[Value] = set(constants)
    made: set[Value] = set()
    for name, inputs, outputs, _ in equations:
        if inputs and fixed.issuperset(inputs) and name not in LOOPS:
            fixed.update(outputs)
            made.update(value for value in outputs if value.num_bytes <= _num_bytes(inputs))
    return made


def _peak(jaxpr: Any, owned: Sequence[Any]) -> int:
    """Return the most bytes alive at once: of temporaries, results, and the inputs that may be overwritten."""
    values = {variable: _value(variable) for variable in jaxpr.invars}
    equations, results = _inline(jaxpr, values)
    equations = _without_dead(equations, results)
    last = _lifetimes(equations, results, [values[variable] for variable in owned])
    constants = [values[variable] for variable in jaxpr.invars if variable not in owned]
    hoisted = _hoisted(equations, constants).intersection(last)
    last |= dict.fromkeys(hoisted, len(equations))
    ending: dict[int, set[Value]] = {}
    for value, index in last.items():
        ending.setdefault(index, set()).add(value)
    alive = peak = _num_bytes([*hoisted, *(values[variable] for variable in owned)])
    for index, equation in enumerate(equations):
        over = ending.get(index, set())
        in_place = over.intersection(_carried(equation))
        alive += _num_bytes(
            [value for value in equation.outputs if value in last and value not in hoisted]
        ) - _num_bytes(list(in_place))
        peak = max(peak, alive + max(_inside(equation), 0))
        alive -= _num_bytes(list(over - in_place))
    return peak


def estimate_bytes(traced: jax.stages.Traced) -> int | None:
    """Return the bytes that a program takes on each device: arguments, results and temporaries at their peak.

    Donated arguments count once: results take their place. None where the program holds what this module does not know:
    how JAX writes a program down may change with any release, and a figure to print must not end a run.
    """
    try:
        jaxpr = _opened(traced.jaxpr)
        is_donated = [argument.donated for argument in jax.tree.leaves(traced.args_info)]
        donated = {id(v) for v, flag in zip(jaxpr.invars, is_donated, strict=True) if flag}
        while len(jaxpr.eqns) == 1 and jaxpr.eqns[0].primitive.name in (*CALLS, "shard_map"):
            (eqn,) = jaxpr.eqns
            jaxpr = _body(eqn)
            donated = {id(inner) for inner, v in zip(jaxpr.invars, eqn.invars, strict=True) if id(v) in donated}
        arguments = [_value(variable) for variable in jaxpr.invars if id(variable) not in donated]
        return _num_bytes(arguments) + _peak(jaxpr, [])
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError):
        return None


def limit_bytes(traced: jax.stages.Traced) -> int | None:
    """Return the memory that a program has on each device, None where that is unknown.

    On CPU the devices of its mesh that a process has share that of the machine.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    num_pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    num_devices = max((getattr(eqn.params.get("mesh"), "size", 1) for eqn in traced.jaxpr.eqns), default=1)
    num_devices = max(1, num_devices // jax.process_count())
    return num_pages * page_size // num_devices if min(num_pages, page_size) > 0 else None


def count_flops(traced: jax.stages.Traced) -> float | None:
    """Return the FLOPs of a program as XLA counts them before it optimises, the body of a loop once.

    In the form that accelerators get, where a convolution is one operation; on CPU it is a loop.

    None where the backend does not tell: a figure to print must not end a run.
    """
    try:
        found = traced.lower(lowering_platforms=("tpu",)).cost_analysis() or {}
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return None
    return found.get("flops")


def in_use_bytes() -> int:
    """Return the bytes in use on the fullest device of this process, or on CPU by this process."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("bytes_in_use" in of_device for of_device in stats):
        return max(of_device["bytes_in_use"] for of_device in stats)
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Bytes where there is no /proc: on macOS.


def require_memory(estimated: int | None, limit: int | None) -> None:
    """Refuse what no device could hold, before it is compiled.

    Raises
    ------
    InputError
        If the estimate exceeds the limit by more than such an estimate may be wrong, ``MARGIN`` times.
    """
    if estimated is not None and limit is not None and estimated > MARGIN * limit:
        raise InputError(
            f"a program takes about {estimated / 1e9:,.1f} GB on each device, which has {limit / 1e9:,.1f} GB; give "
            "fewer networks, chains or rows at once, --placement sequential, or a narrower network"
        )


def describe(estimated: int | None, limit: int | None) -> str:
    """Say in megabytes what was estimated, and whether there is less."""
    if estimated is None:
        return "memory: not estimated"
    lacking = f", more than the {limit / 1e6:.1f} MB there are" if limit is not None and estimated > limit else ""
    return f"memory: estimated {estimated / 1e6:.1f} MB{lacking}"


def describe_compiled(compiled: jax.stages.Compiled) -> str:
    """Say in megabytes what the compiler says, where it tells."""
    num_bytes = compiled_bytes(compiled)
    return "" if num_bytes is None else f", compiled {num_bytes / 1e6:.1f} MB"


def compiled_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Return the same as :func:`estimate_bytes` as the compiler says, or None where it does not tell."""
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    given = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return given + stats.temp_size_in_bytes
