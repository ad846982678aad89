"""What both benchmarks share: the machine's ceilings, timing, and where results go."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from asymjax.rundir import provenance, to_json

RESULTS = Path(__file__).parent / "results"


def seconds(fn: Callable[[], Any], repeats: int = 3) -> float:
    """Return the median wall-clock seconds of a call, after one call outside the clock."""
    jax.block_until_ready(fn())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def sgemm_peak(size: int = 2048) -> float:
    """Return the FLOP/s of one large float32 matrix product on the first device, which uses all its threads."""
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / seconds(lambda: product(a, a))


def copy_bandwidth(num_bytes: int = 2**28) -> float:
    """Return the bytes/s read plus written by adding one to a large array on the first device."""
    a = jnp.ones(num_bytes // 4, jnp.float32)
    add = jax.jit(lambda a: a + 1)
    return 2 * num_bytes / seconds(lambda: add(a))


def flops(fn: Callable[..., Any], *args: Any) -> float:
    """Return XLA's count of the floating-point operations of one call."""
    analysis = jax.jit(fn).lower(*args).compile().cost_analysis()
    return float(analysis["flops"])  # type: ignore[index]


def save(name: str, rows: list[dict[str, Any]], ceilings: dict[str, float]) -> Path:
    """Write rows with ceilings and provenance to ``results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(to_json({"rows": rows, "ceilings": ceilings, "provenance": provenance()}), indent=1))
    return path
