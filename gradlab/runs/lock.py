"""Which process holds an attempt at a run: a lock in its directory that the system releases when the process dies.

The file `lock` says who holds it. Where the lock cannot tell, because the holder ran on another machine or the
file system has none, the age of the file does: the holder touches it every `BEAT` seconds, and after `STALE`
seconds without that it counts as dead. A directory without the file is judged by its own age.
"""

import fcntl
import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

LOCK = "lock"
BEAT = 20.0
STALE = 600.0

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_guard = threading.RLock()


class Lock:
    """The lock of one directory, held until `release` or the end of this process; no child inherits it."""

    def __init__(self, fd: int) -> None:
        self._fd, self.inode = fd, _inode(fd)
        _held.add(self)
        _keep_beating()

    def touch(self) -> None:
        """Show that this process lives."""
        with _guard, suppress(OSError):
            if self._fd >= 0:
                os.utime(self._fd)

    def release(self) -> None:
        """Give it up; a second call does nothing."""
        with _guard:
            fd, self._fd = self._fd, -1
            _held.discard(self)  # a later file may have its inode
            if fd >= 0:
                os.close(fd)

    __del__ = release


_held: "WeakSet[Lock]" = WeakSet()
_heart: threading.Thread | None = None


def hold(folder: Path) -> Lock:
    """Lock a directory that this process made; OSError if the file cannot be written."""
    # Nobody opens the file before it is locked, for it gets its name after that.
    new = folder / f".{LOCK}"
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    lock = Lock(fd)
    _sign(fd, _flock(fd, fcntl.LOCK_EX))
    os.replace(new, folder / LOCK)
    return lock


def own(folder: Path) -> Lock | None:
    """The lock of a directory if this process holds it."""
    with suppress(OSError):
        inode = _named(folder / LOCK)
        return next((lock for lock in list(_held) if lock.inode == inode), None)
    return None


def seize(folder: Path) -> Lock | None:
    """The lock of a directory whose holder is dead; None if it lives or another process was faster."""
    if not is_dead(folder):
        return None
    with suppress(OSError):
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        for _ in range(50):
            locked = _flock(fd, fcntl.LOCK_EX)
            if locked is not False:
                break
            time.sleep(0.001)  # somebody looks whether it is dead
        else:
            os.close(fd)
            return None
        lock = Lock(fd)
        _sign(fd, locked)
        return lock
    return None


@dataclass(frozen=True)
class FileClaim:
    """A file that this process keeps locked for as long as it intends to do something."""

    path: Path
    lock: Lock

    def release(self) -> None:
        """Remove the file, and with it the claim."""
        self.path.unlink(missing_ok=True)
        self.lock.release()


def claim(path: Path) -> FileClaim | None:
    """Claim a file, made if absent; None if another process has it, OSError if it cannot be written."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        locked = _flock(fd, fcntl.LOCK_EX)
        if locked is False:
            os.close(fd)
            return None
        lock = Lock(fd)
        with suppress(OSError):  # else its holder removed it after it was opened
            if _inode(fd) == _named(path):
                _sign(fd, locked)
                return FileClaim(path, lock)
        lock.release()


def is_dead(folder: Path) -> bool:
    """Whether the holder of a directory has ended, or has not been heard of for `STALE` seconds."""
    try:
        fd = os.open(folder / LOCK, _READ)
    except OSError:
        return _is_stale(folder)
    try:
        free = _flock(fd, fcntl.LOCK_SH)  # shared: two readers at once are no holder
        if free and _said(fd).get("kernel") == _kernel():
            return True
        return free is not False and _is_stale(folder)
    finally:
        os.close(fd)


def holder(path: Path) -> dict[str, Any]:
    """`host` and `pid` of the process that holds a directory or has claimed a file; empty if that is not known."""
    with suppress(OSError):
        fd = os.open(path / LOCK if path.is_dir() else path, _READ)
        try:
            said = _said(fd)
        finally:
            os.close(fd)
        if isinstance(said.get("host"), str) and isinstance(said.get("pid"), int):
            return {"host": said["host"], "pid": said["pid"]}
    return {}


def _flock(fd: int, kind: int) -> bool | None:
    """Whether the lock was free, and is held now; None if the file system has no locks."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sign(fd: int, locked: bool | None) -> None:
    """Say who holds the file, and on which kernel its lock tells whether that process lives."""
    said = {"host": socket.gethostname(), "pid": os.getpid(), "kernel": _kernel() if locked else None}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(said).encode(), 0)


def _said(fd: int) -> dict[str, Any]:
    try:
        value = json.loads(os.pread(fd, 10_000, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _kernel() -> str:
    """The boot of this machine, which containers share with their host; else the name of the host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # only Linux has it
        return socket.gethostname()


def _is_stale(folder: Path) -> bool:
    for path in (folder / LOCK, folder):
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > STALE
    return False


def _inode(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _named(path: Path) -> tuple[int, int]:
    """What `_inode` says of the file that has this name now."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _keep_beating() -> None:
    global _heart
    if _heart is None or not _heart.is_alive():
        _heart = threading.Thread(target=_beat, name="gradlab-heartbeat", daemon=True)
        _heart.start()


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        for lock in list(_held):
            lock.touch()


def _after_fork() -> None:
    """A child does not hold the locks of its parent."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_guard.release)
os.register_at_fork(after_in_child=_after_fork)
