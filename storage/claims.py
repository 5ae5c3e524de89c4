"""Who may do what: claims that end with the process that holds them, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class ClaimLostError(Exception):
    """This process no longer holds a claim that it needs; another may have gone on with the work."""


class Claims(Protocol):
    """Claims by name. A process that dies, by whatever signal, holds none."""

    def try_claim(self, name: str) -> bool:
        """Take the claim unless another process has it; True where this process holds it afterwards."""

    def wait_for(self, name: str) -> None:
        """Take the claim as soon as no other process has it."""

    def release(self, name: str) -> None:
        """Give the claim back; nothing happens where it is not held."""

    def check_held(self, name: str) -> None:
        """Raise ``ClaimLostError`` where the claim is not held any more."""

    def close(self) -> None:
        """Give every claim back, and what was opened for them."""


@contextmanager
def hold(claims: Claims, name: str) -> Iterator[None]:
    """Wait for a claim and keep it for the block."""
    claims.wait_for(name)
    try:
        yield
    finally:
        claims.release(name)


class FileClaims:
    """Claims among the processes of one machine, one lock file each.

    ``lockf``, not ``flock``: a forked child does not inherit the claim, so nothing keeps it after kill -9 of its
    parent. The kernel drops a claim with its process: no heartbeat, nothing to clean up.

    Args:
        folder: of the lock files, on a local POSIX file system.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, int] = {}

    def try_claim(self, name: str) -> bool:
        return self._claim(name, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def wait_for(self, name: str) -> None:
        self._claim(name, fcntl.LOCK_EX)

    def release(self, name: str) -> None:
        file = self._held.pop(name, None)
        if file is not None:
            os.close(file)

    def check_held(self, name: str) -> None:
        if name not in self._held:
            raise ClaimLostError(name)

    def _claim(self, name: str, mode: int) -> bool:
        # Closing a second descriptor of the same file would drop the lock of the first: only one for each name.
        if name in self._held:
            return True
        self.folder.mkdir(parents=True, exist_ok=True)
        file = os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(file, mode)
        except BlockingIOError:
            os.close(file)
            return False
        self._held[name] = file
        return True

    def close(self) -> None:
        """Give every claim back."""
        for name in list(self._held):
            self.release(name)
