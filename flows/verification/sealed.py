"""JSON files that are either whole or count for nothing: written atomically, with a checksum inside."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def canonical(content: Any) -> str:
    """JSON text that is the same for equal values.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(content: Any) -> str:
    """SHA-256 of JSON values, hexadecimal."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON values so that a reader sees the whole file or the one before, even after a power cut.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
        ValueError: a number is not finite.
    """
    text = json.dumps({"sha256": digest(content), "content": content}, allow_nan=False)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The content of a sealed file; None where it is missing, truncated or altered.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        sealed = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:  # not JSON, or not UTF-8
        return None
    if not isinstance(sealed, dict) or not isinstance(sealed.get("content"), dict):
        return None
    content: dict[str, Any] = sealed["content"]
    try:
        return content if sealed.get("sha256") == digest(content) else None
    except ValueError:  # JSON as Python reads it knows NaN; no sealed file holds one
        return None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
