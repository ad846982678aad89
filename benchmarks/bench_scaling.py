"""How sweeps of networks scale: over devices and processes, over the number of networks, and in memory.

    python benchmarks/bench_scaling.py
    python benchmarks/bench_scaling.py --quick
    python benchmarks/bench_scaling.py --parts tiny memory

``weak``: as many more networks as devices. Three cases, ``devices`` of one process, ``processes`` of one job (a device
each, on this machine), and ``independent`` sweeps side by side that know nothing of each other, which is what the
machine can do at best. Networks a second are those of the rounds after the first, by the run's own clock: training and
scoring, without compilation and checkpoints; ``command`` has everything. Efficiency is the rate per device over that of
one device. A machine of N cores does at best N times the work of one device: beyond, a rate that stays the same is
the ideal, efficiency can only fall, and ``per core`` (the rate over that of one device times the cores in use) is what
says whether devices and processes cost anything. What a network between machines costs, this machine cannot tell; a
sweep sends nothing over it but a few bytes a round.

``fixed``: what a network costs beside its training, in one sweep of the default network on digits, with functions of
the library on a stopwatch: the compiled chunks (with the start of a round), scoring, which the user asked for, and the
rest, which is overhead. Compilation is left out of all of them. ``once`` is what a run costs whatever its networks:
data, the key of each network, the store, the summary. The goal is an overhead below 2 % of the compiled chunks.

``tiny``: many networks with one small hidden layer, trained, scored and stored with their weights by one command,
beginning and compilation included, against a few networks one at a time (``one_at_a_time.py``), whose beginning and
compilation are on no clock: extrapolated to as many, they would take the time of one each. ``processes`` is how many
such loops ran side by side, since one uses one core. ``of cpu`` compares the time of processors that a network takes,
on which other work on the machine has less influence.

``memory``: the peak of the memory of that command over numbers of networks, as the kernel counts it (VmHWM).
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import tyro

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parent / "runs" / "train_sweep.py"
CORES = len(os.sched_getaffinity(0))
Numbers = dict[str, float]
Part = Literal["weak", "fixed", "tiny", "memory"]
PARTS: tuple[Part, ...] = ("weak", "fixed", "tiny", "memory")


@dataclass(frozen=True)
class Config:
    """What is measured."""

    parts: tuple[Part, ...] = PARTS
    """Parts, see above."""
    quick: bool = False
    """Everything once and small, to see that it works."""
    num_devices: tuple[int, ...] = (1, 2, 4, 8)
    """weak: devices of one process. One has to be among them."""
    num_processes: tuple[int, ...] = (1, 2, 4)
    """weak: processes, those of one job and independent ones."""
    per_device: int = 32
    """weak: networks on a device in a round."""
    num_rounds: int = 4
    """weak: rounds of a sweep; the first is not on the clock."""
    num_fixed: int = 1000
    """fixed: networks."""
    round_sizes: tuple[int, ...] = (1000, 250)
    """fixed: networks in a round."""
    num_tiny: int = 10_000
    """tiny: networks of the sweep."""
    num_alone: tuple[int, ...] = (6, 30, 60)
    """tiny: networks one at a time, of the library, of the Python loop over steps, and of one compiled call each."""
    num_epochs: int = 10
    """tiny, memory: passes over the rows."""
    width: int = 16
    """tiny, memory: units of the hidden layer."""
    num_networks: tuple[int, ...] = (512, 2048, 10_000)
    """memory: networks, in rounds of the first number."""
    repeats: int = 3
    """weak: visits of all cases, one after the other; medians are reported. tiny: one less, at least one."""
    save: bool = True
    """Write results/scaling.json; where it is quick or leaves parts out, scaling.json in the folder of temporary
    files."""


QUICK: dict[str, Any] = {
    "num_devices": (1, 2),
    "num_processes": (2,),
    "per_device": 4,
    "num_rounds": 2,
    "num_fixed": 16,
    "round_sizes": (16, 8),
    "num_tiny": 512,
    "num_alone": (1, 4, 8),
    "num_epochs": 2,
    "num_networks": (64, 256),
    "repeats": 1,
}


# Commands --------------------------------------------------------------------------------------------------------


class Finished(NamedTuple):
    """A command that has ended: its seconds, those of processors, the peak of its memory in MB, what it printed."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def peak_mb(pid: int) -> float:
    """Return the peak of the resident memory of a running process in MB, 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max((float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), default=0.0)


def cpu_seconds(pid: int) -> float:
    """Return the seconds that a running process has had processors, 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_together(
    commands: Sequence[Sequence[object]], num_devices: int = CORES, threads: int = CORES
) -> list[Finished]:
    """Run Python commands side by side, each with so many host devices and nothing compiled before.

    Raises
    ------
    RuntimeError
        If one of them fails.
    """
    env = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
        "NPROC": str(threads),  # The size of XLA's thread pool.
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    with ExitStack() as stack:
        env["JAX_COMPILATION_CACHE_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in commands]
        start = time.perf_counter()
        running = [
            subprocess.Popen([sys.executable, *map(str, command)], env=env, stdout=file, stderr=subprocess.STDOUT)
            for command, file in zip(commands, files, strict=True)
        ]
        for process in running:
            stack.callback(process.kill)  # Where this script is interrupted; nothing to one that has ended.
        seconds, used, peaks = [0.0] * len(running), [0.0] * len(running), [0.0] * len(running)
        while not all(seconds):
            time.sleep(0.02)
            for i, process in enumerate(running):
                used[i] = max(used[i], cpu_seconds(process.pid))
                peaks[i] = max(peaks[i], peak_mb(process.pid))
                if process.poll() is not None and not seconds[i]:
                    seconds[i] = time.perf_counter() - start
        outputs = [_content(file) for file in files]
    for process, output in zip(running, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"a command failed: {process.args!r}\n{output[-2000:]}")
    return [Finished(*values) for values in zip(seconds, used, peaks, outputs, strict=True)]


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def sweep(folder: Path, count: int, round_size: int, *words: object) -> list[object]:
    """Return the command of a sweep."""
    size = ["--num-seeds", count, "--round-size", round_size]
    return [SCRIPT, *size, "--run-dir", folder, "--no-progress", *words]


def tiny(config: Config) -> list[object]:
    """Return the words of a command line that make networks tiny."""
    return ["--widths", config.width, "--norm", "none", "--num-epochs", config.num_epochs]


def medians(cases: Mapping[Any, Callable[[Path], Numbers]], repeats: int) -> dict[Any, Numbers]:
    """Return the median of each number of each case over visits of all of them in turn, each with an empty folder.

    Beside them ``load``, the processes that were running or waiting when a case began, its predecessor's among them.
    """
    seen: dict[Any, list[Numbers]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory() as folder:
                seen[name].append(case(Path(folder) / "run") | {"load": load})
            print(f"  {name}: " + ", ".join(f"{key} {value:.3g}" for key, value in seen[name][-1].items()), flush=True)
    return {
        name: {key: statistics.median(visit[key] for visit in visits) for key in visits[0]}
        for name, visits in seen.items()
    }


# Parts -----------------------------------------------------------------------------------------------------------


def steady_rate(run: Path) -> float:
    """Return the networks a second of a run after its first round."""
    from asymjax.lab import run_files

    rounds = [line for line in run_files.read_metrics(run) if line["phase"] == "train"]
    return sum(len(line["loss"]) for line in rounds[1:]) / (rounds[-1]["seconds"] - rounds[0]["seconds"])


def weak_case(config: Config, case: str, count: int, run: Path) -> Numbers:
    """Run a sweep over so many devices or processes, or so many sweeps of one device each."""
    num_workers = 1 if case == "devices" else count
    networks = config.per_device * (1 if case == "independent" else count)
    runs = [run.with_name(f"run{i}") if case == "independent" else run for i in range(num_workers)]
    commands = [sweep(path, networks * config.num_rounds, networks) for path in runs]
    if case == "processes":
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        job = ["--coordinator", address, "--num-processes", count, "--process-id"]
        commands = [[*command, *job, index] for index, command in enumerate(commands)]
    devices = count if case == "devices" else 1
    done = run_together(commands, devices, max(*config.num_devices, CORES))
    rate = sum(steady_rate(path) for path in dict.fromkeys(runs))
    return {"networks_per_second": rate, "command_seconds": max(command.seconds for command in done)}


def weak(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the rows of weak scaling."""
    names = [("devices", count) for count in config.num_devices]
    names += [(case, count) for case in ("processes", "independent") for count in config.num_processes]
    cases = {(case, count): partial(weak_case, config, case, count) for case, count in names}
    measured = medians(cases, config.repeats)
    one = measured["devices", 1]["networks_per_second"]
    for (case, count), numbers in measured.items():
        rate = numbers["networks_per_second"]
        row = {"case": case, "count": count, "networks": config.per_device * config.num_rounds * count}
        ratios = {"efficiency": rate / (count * one), "per_core": rate / (min(count, CORES) * one)}
        yield row | numbers | ratios


@contextmanager
def on_watch(watch: Any) -> Iterator[None]:
    """Put what a sweep calls on a stopwatch."""
    from unittest.mock import patch

    from asymjax.experiments.train_sweep import run as train_sweep
    from asymjax.lab import devices, processes, sweep
    from asymjax.lab.rundir import RunDir

    functions: list[tuple[Any, str, str]] = [(sweep, "run_phase", "loop"), (RunDir, "commit", "checkpoint")]
    functions += [(RunDir, "_write_metrics", "metrics"), (processes, "gather", "gather"), (devices, "put", "put")]
    functions += [(RunDir, "write_rows", "store"), (train_sweep, "run_sweep", "once")]
    compile_ahead, make_finish, make_evaluate = sweep.compile_ahead, train_sweep.make_finish, train_sweep.make_evaluate

    def evaluate(*args: Any) -> Any:
        made = make_evaluate(*args)
        return made._replace(score=watch.on("score", made.score))

    with ExitStack() as stack:
        for owner, name, part in functions:
            stack.enter_context(patch.object(owner, name, watch.on(part, getattr(owner, name))))
        for owner, name, changed in (
            (sweep, "compile_ahead", lambda *args, **more: watch.on("compute", compile_ahead(*args, **more))),
            (train_sweep, "make_finish", lambda *args: watch.on("finish", make_finish(*args))),
            (train_sweep, "make_evaluate", evaluate),
        ):
            stack.enter_context(patch.object(owner, name, changed))
        yield


def fixed_case(config: Config, round_size: int, run: Path) -> Numbers:
    """Train a sweep of the default network with its functions on a stopwatch; milliseconds a network of each part."""
    from measure import Stopwatch

    from asymjax.experiments.train_sweep.config import Config as Sweep
    from asymjax.experiments.train_sweep.grid_run import run_train_grid
    from asymjax.lab.run_config import RunConfig
    from asymjax.train.optimizers import OptimizerConfig

    optimizer = OptimizerConfig(num_epochs=2) if config.quick else OptimizerConfig()
    where = RunConfig(run_dir=run, progress=False, round_size=round_size)
    watch = Stopwatch()
    train = watch.on("once", run_train_grid)
    with on_watch(watch):
        train(Sweep(optimizer=optimizer, num_seeds=config.num_fixed, run=where))
    return {part: 1e3 * sum(calls) / config.num_fixed for part, calls in watch.calls.items()}


def fixed(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the rows of what a network costs beside its training, one for each function and one for the overhead."""
    sizes = {size: partial(fixed_case, config, size) for size in config.round_sizes}
    for size, numbers in medians(sizes, 1).items():
        load, rounds = numbers.pop("load"), -(-config.num_fixed // size)
        overhead = sum(numbers.values()) - sum(numbers[part] for part in ("compute", "score", "once"))
        for function, each in (numbers | {"overhead": overhead}).items():
            row = {"networks": config.num_fixed, "round_size": size, "function": function, "ms_a_network": each}
            per_round = {"ms_a_round": each * config.num_fixed / rounds} if function != "once" else {}
            yield row | {"share_of_compute": each / numbers["compute"]} | per_round | {"load": load}


def alone(config: Config, way: str, count: int, processes: int, run: Path) -> Numbers:
    """Train networks one at a time, in one or several processes; their rates add up."""
    import json

    words = ["--way", way, "--num-networks", count, "--width", config.width, "--num-epochs", config.num_epochs]
    script = HERE / "one_at_a_time.py"
    done = run_together([[script, *words, "--folder", run / str(index)] for index in range(processes)])
    times = [json.loads(command.output.splitlines()[-1]) for command in done]
    rate = sum(1 / statistics.median(each["seconds"]) for each in times)
    cpu = statistics.mean(statistics.median(each["cpu_seconds"]) for each in times)
    return {"networks_per_second": rate, "cpu_ms_a_network": 1e3 * cpu}


def whole_sweep(config: Config, count: int, round_size: int, run: Path) -> Numbers:
    """Train and store tiny networks by one command."""
    (done,) = run_together([sweep(run, count, round_size, *tiny(config))])
    rate = {"networks_per_second": count / done.seconds, "cpu_ms_a_network": 1e3 * done.cpu_seconds / count}
    return rate | {"command_seconds": done.seconds, "peak_mb": done.peak_mb}


def tiny_networks(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the rows of many tiny networks, in one sweep and one at a time."""
    cases: dict[Any, Callable[[Path], Numbers]] = {
        (way, count, processes): partial(alone, config, way, count, processes)
        for way, count in zip(("library", "step", "scan"), config.num_alone, strict=True)
        for processes in sorted({1, CORES})
    }
    cases["sweep", config.num_tiny, 1] = partial(whole_sweep, config, config.num_tiny, min(1024, config.num_tiny // 2))
    measured = medians(cases, max(1, config.repeats - 1))
    best = measured["sweep", config.num_tiny, 1]
    for (way, count, processes), numbers in measured.items():
        row = {"way": way, "networks": count * processes, "processes": processes}
        ratio = {"sweep_is_faster": best["networks_per_second"] / numbers["networks_per_second"]}
        yield row | numbers | ratio | {"of_cpu": numbers["cpu_ms_a_network"] / best["cpu_ms_a_network"]}


def memory(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the rows of peak memory."""
    size = min(config.num_networks)
    cases = {count: partial(whole_sweep, config, count, size) for count in config.num_networks}
    for count, numbers in medians(cases, 1).items():
        yield {"networks": count, "round_size": size, "rounds": -(-count // size)} | numbers


# Together --------------------------------------------------------------------------------------------------------


def show(part: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table."""
    import rich.table
    from rich.console import Console

    console = Console(width=200)
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = rich.table.Table(*[name.replace("_", " ") for name in names], title=part, box=rich.box.SIMPLE)
    for row in rows:
        cells = [row.get(name, "") for name in names]
        table.add_row(*[f"{cell:.3g}" if isinstance(cell, float) else f"{cell}" for cell in cells])
    console.print(table)


def main(config: Config) -> list[dict[str, Any]]:
    """Measure the parts, print their tables and save their rows."""
    from asymjax.lab import devices

    devices.configure_host_devices()
    from measure import ceilings, save

    config = replace(config, **QUICK) if config.quick else config
    measure = {"weak": weak, "fixed": fixed, "tiny": tiny_networks, "memory": memory}
    rows, start, load = [], time.perf_counter(), os.getloadavg()[0]
    if load > CORES / 2:
        print(f"other work is on the machine (load {load:.1f}): rates are too low, and ratios of cases mean little")
    machine = ceilings() | {"cores": float(CORES), "load_before": load}
    for part in config.parts:
        print(f"{part}, {CORES} cores, load {os.getloadavg()}", flush=True)
        found = [{"part": part, "seed": 0} | row for row in measure[part](config)]  # Seeds are the defaults.
        show(part, found)
        rows += found
    print(f"{time.perf_counter() - start:.0f} s")
    if config.save:
        is_whole = not config.quick and set(config.parts) == set(PARTS)
        print(save("scaling" if is_whole else str(Path(tempfile.gettempdir()) / "scaling"), rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
