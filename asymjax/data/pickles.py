"""Reading pickles that come from elsewhere: they may name the listed globals and nothing else.

Globals are looked up in a dictionary and never imported, which also resolves modules that have since been renamed.
So no pickle calls a function of its choice; array bytes forged to crash NumPy are not detected.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asymjax.errors import InputError

# NumPy keeps these two private, and moves them; an array's own pickle says where they are.
_reconstruct = np.empty(0).__reduce__()[0]
_frombuffer = np.empty(0).__reduce_ex__(5)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes as protocol 2 of Python 3 wrote them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are written in {encoding}, expected latin1")
    return text.encode("latin1")


NUMPY_GLOBALS: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "numpy._core.numeric._frombuffer": _frombuffer,
    "_codecs.encode": _encode,
}


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, admitted: Mapping[str, Any]):
        super().__init__(stream, encoding="latin1")
        self._admitted = admitted

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if path not in self._admitted:
            raise pickle.UnpicklingError(f"it asks for {path}, which is not among {', '.join(self._admitted)}")
        return self._admitted[path]


def load_pickle(path: Path, extra_globals: Mapping[str, Any] | None = None) -> Any:
    """Load one pickled object of plain containers and NumPy arrays, from Python 2 (as latin1) or 3.

    Parameters
    ----------
    path : the file.
    extra_globals : further globals to admit, ``"module.name"`` as the pickle spells it -> object.

    Raises
    ------
    InputError
        For a global that is not admitted (named in the message), a damaged pickle or trailing bytes.
    """
    stream = io.BytesIO(path.read_bytes())
    try:
        content = _RestrictedUnpickler(stream, NUMPY_GLOBALS | dict(extra_globals or {})).load()
    except Exception as error:  # a damaged pickle can raise almost anything
        raise InputError(f"{path}: this pickle is refused or damaged: {error}") from error
    if trailing := len(stream.read()):
        raise InputError(f"{path}: {trailing} trailing bytes after the pickle, expected none")
    return content
