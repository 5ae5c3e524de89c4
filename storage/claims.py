"""Who may do what: claims that end with the process that holds them, however it ends."""

import errno
import fcntl
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

SECONDS_BETWEEN_TRIES = 0.05


class ClaimLostError(Exception):
    """This process no longer holds a claim that it needs; another may have gone on with the work."""


class Claims(ABC):
    """Claims by name, each held by one object of one process at a time, or shared by several processes.

    A process that dies, by whatever signal, holds none; nor does an object that was closed, or a forked child.
    """

    def __init__(self) -> None:
        _opened.add(self)

    @abstractmethod
    def try_claim(self, name: str) -> bool:
        """Take the claim unless another has it; True where it is held here afterwards."""

    @abstractmethod
    def try_share(self, name: str) -> bool:
        """Take the claim together with other processes that share it, unless one has it for itself.

        It is kept until this object is closed; whoever lost it with a session has it again before any other claim.
        For one object of a process, and not for a name that it holds by ``try_claim``, or wants to.
        """

    @abstractmethod
    def wait_for(self, name: str) -> None:
        """Take the claim as soon as no other has it."""

    @abstractmethod
    def release(self, name: str) -> None:
        """Give the claim back; nothing happens where it is not held."""

    @abstractmethod
    def check_held(self, name: str) -> None:
        """Raise ``ClaimLostError`` where the claim is not held any more."""

    @abstractmethod
    def close(self) -> None:
        """Give every claim back, and what was opened for them."""

    @abstractmethod
    def leave_to_parent(self) -> None:
        """Hold nothing in a forked child, and end nothing that its parent holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


@contextmanager
def hold(claims: Claims, name: str) -> Iterator[None]:
    """Wait for a claim and keep it for the block."""
    claims.wait_for(name)
    try:
        yield
    finally:
        claims.release(name)


class FileClaims(Claims):
    """Claims among the processes of one machine, one lock file each.

    ``lockf``, not ``flock``: a forked child does not inherit the claim, so nothing keeps it after kill -9 of its
    parent. The kernel drops a claim with its process: no heartbeat, nothing to clean up.

    Args:
        folder: of the lock files, on a local POSIX file system.
    """

    def __init__(self, folder: Path) -> None:
        self._held: dict[Path, int] = {}
        self.folder = folder.resolve()
        super().__init__()

    @classmethod
    def beside(cls, file: Path) -> Self:
        """The claims that go with a file, whichever symbolic link it is opened by."""
        return cls(Path(f"{file.resolve()}.claims"))

    def try_claim(self, name: str) -> bool:
        return self._claim(name, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def try_share(self, name: str) -> bool:
        return self._claim(name, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def wait_for(self, name: str) -> None:
        self._claim(name, fcntl.LOCK_EX)

    def release(self, name: str) -> None:
        self._release(self._path(name))

    def check_held(self, name: str) -> None:
        path = self._path(name)
        if path in self._held and not _lies_at(path, self._held[path]):
            self._release(path)  # somebody removed it, and the next process makes another
        if path not in self._held:
            raise ClaimLostError(name)

    def close(self) -> None:
        for path in list(self._held):
            self._release(path)

    def leave_to_parent(self) -> None:
        for file in self._held.values():
            os.close(file)
        self._held.clear()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '%2F')}.lock"  # a study of others may be named so

    def _claim(self, name: str, how: int) -> bool:
        path = self._path(name)
        if path in self._held:
            return True
        taken = _taken_here.setdefault(path, threading.Lock())
        if not taken.acquire(blocking=not how & fcntl.LOCK_NB):
            return False
        with ExitStack() as undo:
            undo.callback(taken.release)
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            undo.callback(os.close, file)
            if not _lock(file, how):
                return False
            undo.pop_all()
        self._held[path] = file
        return True

    def _release(self, path: Path) -> None:
        file = self._held.pop(path, None)
        if file is not None:
            os.close(file)
            _taken_here[path].release()


def _lies_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: int, how: int) -> bool:
    while True:
        try:
            fcntl.lockf(file, how)
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            # Linux takes processes that wait for one another for a deadlock, also where it is one thread that waits
            # and another that holds what is waited for.
            if error.errno != errno.EDEADLK:
                raise
            time.sleep(SECONDS_BETWEEN_TRIES)


# The lock files that this process has open. The kernel knows processes, not objects: it gives a lock a second time to
# the process that has it, and drops it when any descriptor of the file is closed.
_taken_here: dict[Path, threading.Lock] = {}

_opened: "weakref.WeakSet[Claims]" = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for claims in list(_opened):
        claims.leave_to_parent()
    _taken_here.clear()


# One for all objects: it cannot be taken back.
os.register_at_fork(after_in_child=_leave_all_to_parent)
