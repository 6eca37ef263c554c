"""Compiled programs are kept between commands, in the user's cache folder.

jax writes an entry in place, so a killed process leaves a torn one, about which jax would warn at every start.
Entries that changed since the last command began are therefore read once before jax may trust them.
"""

import hashlib
import importlib.metadata
import os
import platform
import zlib
from pathlib import Path

LIMIT_BYTES = 512 * 2**20
"""Above this the entries that were made first are deleted."""

_STAMP = ".checked"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def use_cache(*, clean: bool = True) -> None:
    """Let jax keep compiled programs; `GRADLAB_CACHE` is `off` or the folder, jax's own setting comes first.

    Args:
        clean: delete torn entries and old ones first, once for each command.
    """
    setting = os.environ.get("GRADLAB_CACHE", "")
    if setting.lower() == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = (Path(setting) if setting else _user_cache() / "gradlab") / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if clean:
            tidy(folder)
    except OSError:
        return  # without a cache everything works, only later
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def tidy(folder: Path, limit: int = LIMIT_BYTES) -> None:
    """Delete torn entries, and the oldest ones above the limit.

    Args:
        folder: of the cache.
        limit: bytes that may stay.
    """
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
            continue  # another command tidies too
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size


def _is_whole(entry: bytes) -> bool:
    """Whether an entry can be decompressed to its end; jax uses zstd where it is installed, else zlib."""
    try:
        if entry.startswith(_ZSTD_MAGIC):
            import zstandard

            zstandard.ZstdDecompressor().decompress(entry)
        else:
            zlib.decompress(entry)
    except Exception:  # each library has errors of its own, and a missing one cannot read the entry either
        return False
    return True


def _machine() -> str:
    """The jaxlib and the processor that compiled programs belong to."""
    flags = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags += next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        flags += platform.processor()
    digest = hashlib.blake2b(flags.encode(), digest_size=4).hexdigest()
    return f"jaxlib-{importlib.metadata.version('jaxlib')}-{digest}"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
