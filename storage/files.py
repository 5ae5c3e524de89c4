"""Files that appear whole or not at all, whenever the process dies."""

import glob
import io
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

# A partial file that nobody has written to for so long was left by a process that was killed.
SECONDS_UNTIL_LEFT = 24 * 3600.0


def write_whole(content: bytes | memoryview, path: Path) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Any number of processes may write the same file, on any hosts that share the folder: the last one stays.

    Raises:
        OSError: where the folder cannot be written or the disk is full; the old file is still there then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path.parent, glob.escape(path.name))
    # Not named by a process number: two hosts or containers have the same ones. Not by tempfile, whose files only
    # their owner may read.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with naming(path), partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save_whole(content: object, path: Path) -> None:
    """``torch.save`` by way of ``write_whole``.

    Serialised in memory first: on a full disk torch's own writer raises an error that does not say so.

    Raises:
        OSError: as ``write_whole``.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(buffer.getbuffer(), path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the path in an ``OSError`` of the block that names none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def remove_left(folder: Path, names: str) -> None:
    """Remove what processes that were killed left of the files whose names fit a pattern."""
    for left in folder.glob(f".{names}.*.partial"):
        # Another writer may be about the same.
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > SECONDS_UNTIL_LEFT:
                left.unlink()
