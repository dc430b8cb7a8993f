"""Text files as chapters need them: UTF-8 without byte order mark, lines ended by a line feed."""

from __future__ import annotations

from pathlib import Path

from .errors import BadFile


def read_text(path: Path, name: str = "") -> str:
    """The text of a file; a byte order mark is dropped, and CR LF and CR become LF.

    Args:
        path: the file.
        name: what an error calls it; the file's name if empty.

    Raises:
        BadFile: the file is not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte {error.start} cannot be read)"
        raise BadFile(name or path.name, what, str(path), "save it in UTF-8, or fetch it again") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
