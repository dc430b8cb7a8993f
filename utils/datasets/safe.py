"""Reading of formats that can do harm: pickles, which can run code, and zips, which can write anywhere.
What is not known to be harmless is refused."""

import pickle
import re
import stat
import zipfile
from pathlib import Path
from typing import Any

from .errors import BadFile, UnsafeArchive, UnsafePickle

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
        unpickler = _RestrictedUnpickler(file, encoding="latin1")
        unpickler.path = path
        try:
            return unpickler.load()
        except (pickle.UnpicklingError, EOFError) as error:
            what = f"not a complete pickle ({error})"
            raise BadFile(path.name, what, str(path), "fetch it again") from error


def extract(zip_path: Path, folder: Path) -> None:
    """Unpack a zip into `folder`. Raises BadFile; UnsafeArchive, with nothing written, if a member climbs out."""
    try:
        archive = zipfile.ZipFile(zip_path)
    except zipfile.BadZipFile as error:
        raise BadFile(zip_path.name, f"not a zip ({error})", str(zip_path), "fetch it again") from error
    with archive:
        for member in archive.infolist():
            name = member.orig_filename.replace("\\", "/")
            climbs = name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name)
            if climbs or stat.S_ISLNK(member.external_attr >> 16):
                what = f"the member {member.orig_filename!r} would leave the folder"
                raise UnsafeArchive(zip_path.name, what, str(zip_path), "do not unpack this archive")
        archive.extractall(folder)
