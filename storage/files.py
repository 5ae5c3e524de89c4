"""Files that appear whole or not at all, whenever the process dies."""

import io
import os
from pathlib import Path

import torch


def write_whole(content: bytes, path: Path) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Raises:
        OSError: where the folder cannot be written or the disk is full; the old file is still there then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
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
    write_whole(buffer.getvalue(), path)
