"""Jobs of several real processes on this machine."""

import pytest
from launch import Job


@pytest.fixture
def launch(python_env, tmp_path):
    """Return a function that starts a job; what still runs at the end of the test is killed."""
    jobs = []

    def start(*words, num_processes=2, num_devices=2, env=None, **options):
        folder = tmp_path / f"job-{len(jobs)}"
        jobs.append(Job(words, num_processes, python_env(num_devices, env), folder, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill_all()
