"""Scripts that end before they are done, in the process of the test."""

import pytest
from kill import Interrupted, ending, give_up


@pytest.fixture(scope="session")
def interrupt(script):
    """Return a function that runs a script until an exception ends it at a place, as kill.py ends its process."""

    def run(phase, chunk, place, path, *words):
        with pytest.raises(Interrupted), ending(phase, chunk, place, give_up):
            script(path, *words)

    return run
