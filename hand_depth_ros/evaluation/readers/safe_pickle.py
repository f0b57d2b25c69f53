"""Pickles of plain data: numbers, strings, containers and numpy arrays, nothing else.

Some public data sets annotate in pickle files, and a pickle can run any code when it is loaded.
This reader finds names in a short list of its own and imports nothing: whatever else a file asks
for is an error.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from hand_depth_ros.errors import DatasetError

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_FROM_BUFFER = np.empty(1).__reduce_ex__(5)[0]  # protocol 5


def _bytes_of(text: str, encoding: str) -> bytes:
    """Return the bytes that pickles of protocol 2 and below store as ``_codecs.encode(...)``."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Return empty bytes, as those pickles write them.

    ``bytes`` itself is not allowed: with a number it would take any amount of memory.
    """
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes_of,
    ("__builtin__", "bytes"): _no_bytes,
}
for _module in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    _ALLOWED[f"{_module}.multiarray", "_reconstruct"] = _RECONSTRUCT
    _ALLOWED[f"{_module}.multiarray", "scalar"] = _SCALAR
    _ALLOWED[f"{_module}.numeric", "_frombuffer"] = _FROM_BUFFER


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"{module}.{name}, which is neither numpy data nor a plain value"
            ) from None


def load_plain_pickle(file: Path) -> Any:
    """The content of a pickle of plain data, also of those that Python 2 wrote.

    Raises DatasetError when the file is missing, broken, or has anything but plain data and numpy
    arrays in it.
    """
    try:
        with file.open("rb") as stream:
            return _PlainUnpickler(stream, encoding="latin1").load()
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.") from error
    except pickle.UnpicklingError as error:
        raise DatasetError(
            f"{file} was not loaded, it is broken or asks for more than data: {error}."
        ) from error
    except (EOFError, ValueError, TypeError, AttributeError, ImportError, IndexError, KeyError) as error:
        raise DatasetError(f"{file} is not a whole pickle: {error}.") from error
