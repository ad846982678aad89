"""A job: the same words run by several Python processes that meet at a port of this machine."""

import signal
import socket
import subprocess
import sys
import time
from subprocess import CompletedProcess

import pytest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Job:
    """Processes that have been started, one an environment, with the flags that make them one job behind the words.

    A process may have words of its own.
    ``coordinator`` is where they meet.
    """

    def __init__(self, words, envs, folder, own):
        self.coordinator = f"127.0.0.1:{free_port()}"
        self._outs = [folder / f"{process}.out" for process in range(len(envs))]
        self._errs = [folder / f"{process}.err" for process in range(len(envs))]
        self.processes = []
        for process, env in enumerate(envs):
            flags = ["--coordinator", self.coordinator, "--num-processes", len(envs), "--process-id", process]
            command = [sys.executable, *map(str, [*own.get(process, words), *flags])]
            with open(self._outs[process], "w") as out, open(self._errs[process], "w") as err:
                self.processes.append(subprocess.Popen(command, env=env, stdout=out, stderr=err))

    def wait_for(self, text, process, timeout=60):
        """Wait until a process has printed a text."""
        deadline = time.monotonic() + timeout
        while text not in self._outs[process].read_text() + self._errs[process].read_text():
            ended = self.processes[process].poll() is not None
            if ended or time.monotonic() > deadline:
                pytest.fail(f"no {text!r} from process {process}:\n{self._errs[process].read_text()[-3000:]}")
            time.sleep(0.05)

    def send(self, process, number=signal.SIGKILL):
        self.processes[process].send_signal(number)

    def kill_all(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def join(self, timeout=60, check=False):
        """Return the finished processes; fail where one hangs, and with `check` where one failed."""
        deadline = time.monotonic() + timeout
        hanging = []
        for index, process in enumerate(self.processes):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                hanging.append(index)
        self.kill_all()
        outs, errs = ([path.read_text() for path in paths] for paths in (self._outs, self._errs))
        assert not hanging, f"processes {hanging} hang:\n" + "\n".join(outs + errs)
        done = [
            CompletedProcess(process.args, process.returncode, out, err)
            for process, out, err in zip(self.processes, outs, errs, strict=True)
        ]
        assert not check or all(one.returncode == 0 for one in done), "\n".join(one.stderr[-3000:] for one in done)
        return done
