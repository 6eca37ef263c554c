"""What a process does with memory that was freed; knows no jax."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_memory() -> None:
    """Have the C library keep freed memory for the next call of a program instead of giving it to the system.

    A worker of Dask starts with MALLOC_TRIM_THRESHOLD_=65536, with which glibc gives back nearly all that XLA
    frees, and the next call faults it in again page by page. Where the C library is another one nothing happens.

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)
