"""The persistent compilation cache, in the user's cache folder.

jax writes entries in place, so a killed process leaves a torn one, about which jax would warn at every start.
Entries that changed since the last command are therefore checked first.
"""

import hashlib
import importlib.metadata
import os
import platform
import zlib
from contextlib import suppress
from pathlib import Path

LIMIT_BYTES = 512 * 2**20
"""Above this the oldest entries are deleted."""

_STAMP = ".checked"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def use_cache() -> None:
    """Let jax cache compiled programs; `GRADLAB_CACHE` is `off` or the folder, after jax's own setting."""
    folder = _folder()
    if folder is None:
        return
    quieten()
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def quieten() -> None:
    """Before jax is imported: no spurious errors of XLA about CPU features for every program from the cache."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def tidy_cache() -> None:
    """Delete torn entries, and the oldest ones of a large cache, before jax reads any."""
    folder = _folder()
    if folder is not None:
        with suppress(OSError):
            tidy(folder)


def _folder() -> Path | None:
    """Where the cache is, None if gradlab has none; without one everything works, only slower."""
    setting = os.environ.get("GRADLAB_CACHE", "")
    if setting.lower() == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (Path(setting) if setting else user / "gradlab") / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def tidy(folder: Path, limit: int = LIMIT_BYTES) -> None:
    """Delete torn entries, and the oldest ones above a limit in bytes."""
    stamp = folder / _STAMP
    checked = stamp.stat().st_mtime_ns if stamp.exists() else 0
    stamp.touch()
    entries = []
    for path in folder.glob("*-cache"):
        try:
            stat = path.stat()
            if stat.st_mtime_ns >= checked and not _is_whole(path.read_bytes()):
                path.unlink()
            else:
                entries.append((stat.st_mtime_ns, stat.st_size, path))
        except FileNotFoundError:
            continue  # another process deleted it
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size


def _is_whole(entry: bytes) -> bool:
    """Whether an entry can be decompressed; jax uses zstd if it is installed, else zlib."""
    try:
        if entry.startswith(_ZSTD_MAGIC):
            import zstandard

            zstandard.ZstdDecompressor().decompress(entry)
        else:
            zlib.decompress(entry)
    except Exception:  # each library has its own errors
        return False
    return True


def _machine() -> str:
    """The jaxlib and the processor that compiled programs are for."""
    flags = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags += next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        flags += platform.processor()
    digest = hashlib.blake2b(flags.encode(), digest_size=4).hexdigest()
    return f"jaxlib-{importlib.metadata.version('jaxlib')}-{digest}"
