"""Jobs of several real processes on this machine."""

import pytest
from launch import Job


@pytest.fixture(scope="module")
def launch(python_env, tmp_path_factory):
    """Return a function that starts a job; what still runs at the end of the module is killed."""
    jobs = []

    def start(*words, num_devices=(2, 2), env=None, own=None):
        """Start as many processes as there are numbers of devices; those in ``own`` run other words."""
        envs = [python_env(number, env, as_for_users=True) for number in num_devices]
        jobs.append(Job(words, envs, tmp_path_factory.mktemp("job"), own or {}))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill_all()
