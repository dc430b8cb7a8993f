"""Reading of formats that can do harm: pickles, alone or inside an .npz file, can run code.
What is not known to be harmless is refused."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import BadFile, UnsafePickle

ADMITTED = {"numpy.ndarray", "numpy.dtype", "collections.defaultdict", "builtins.list", "__builtin__.list"}
ADMITTED |= {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
ADMITTED |= {"scipy.sparse.csr.csr_matrix", "scipy.sparse._csr.csr_matrix"}
MOVED = {"numpy.core.multiarray": "numpy._core.multiarray", "scipy.sparse.csr": "scipy.sparse._csr"}


class _RestrictedUnpickler(pickle.Unpickler):
    path: Path

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in ADMITTED:
            what = f"the pickle asks for {module}.{name}, which is not admitted"
            raise UnsafePickle(self.path.name, what, str(self.path), "do not load this file")
        return super().find_class(MOVED.get(module, module), name)


def load_pickle(path: Path) -> Any:
    """Unpickle a file (Python 2 strings as latin1) that may name only the classes and functions in ADMITTED.
    Raises UnsafePickle before any other name is looked up, BadFile when it is no complete pickle."""
    with open(path, "rb") as file:
        return _unpickle(file, path)


def _unpickle(file: IO[bytes], path: Path) -> Any:
    unpickler = _RestrictedUnpickler(file, encoding="latin1")
    unpickler.path = path
    try:
        return unpickler.load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise BadFile(path.name, f"not a complete pickle ({error})", str(path), "fetch it again") from error


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; arrays of objects, which are pickles, under the rules of `load_pickle`.
    Raises UnsafePickle, and BadFile when the file is no complete .npz."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    arrays[member.removesuffix(".npy")] = _read_array(file, path)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise BadFile(path.name, f"not a complete .npz ({error})", str(path), "fetch it again") from error
    return arrays


def _read_array(file: IO[bytes], path: Path) -> np.ndarray:
    content = io.BytesIO(file.read())
    version = np.lib.format.read_magic(content)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f"arrays of version {version}")
    if headers[version](content)[2].hasobject:
        return _unpickle(content, path)
    content.seek(0)
    return np.lib.format.read_array(content, allow_pickle=False)
