"""npz files: as `numpy.savez` writes them, never more than their own bytes, and which arrays they must hold."""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from gradlab.gradient.curve import STATE

STATISTICS = ("typical", "q10", "q50", "q90", "rms", "dead")
"""The statistics of each leaf of a curve, by lag."""

Arrays = Mapping[str, np.ndarray]


def read_archive(data: bytes) -> dict[str, np.ndarray]:
    """The arrays in the bytes of an npz file.

    Raises:
        ValueError: it is damaged or cut, compressed, or holds something else than arrays of numbers.
    """
    try:
        members = zipfile.ZipFile(io.BytesIO(data)).infolist()
    except Exception as error:  # damage may raise anything
        raise ValueError(f"it is damaged or cut: {error}") from error
    if sum(member.file_size for member in members) > len(data):
        raise ValueError("it unpacks to more bytes than it has")
    whole = memoryview(data)
    return {member.filename.removesuffix(".npy"): _array(whole, member) for member in members}


def _array(data: memoryview, member: zipfile.ZipInfo) -> np.ndarray:
    name, begin = ascii(member.filename)[:80], member.header_offset
    if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".npy"):
        raise ValueError(f"{name} is compressed or no array")
    # Before the content is the member's own header: 30 bytes, of which the last 4 are the lengths of what follows.
    begin += 30 + sum(int.from_bytes(data[begin + at : begin + at + 2], "little") for at in (26, 28))
    content = data[begin : begin + member.file_size]
    if len(content) < member.file_size or zlib.crc32(content) != member.CRC:
        raise ValueError(f"{name} is damaged or cut")
    sized = 2 if content[6:7] == b"\x01" else 4
    head = 8 + sized + int.from_bytes(content[8 : 8 + sized], "little")
    shape, fortran, dtype = _header(bytes(content[:head]), name)
    if math.prod(shape) * dtype.itemsize != len(content) - head:
        raise ValueError(f"{name} has not the bytes of its shape")
    array = np.frombuffer(content[head:], dtype).reshape(shape, order="F" if fortran else "C")
    return array.copy()  # aligned, writable, and of its own bytes alone


@lru_cache(maxsize=1024)
def _header(head: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type as the header of an npy file states them; cached, for numpy reads it slowly."""
    file = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # damage may raise anything
        raise ValueError(f"{name} is no array: {error}") from error
    if dtype.kind not in "biufc" or min(shape, default=0) < 0:
        raise ValueError(f"{name} holds {dtype}, not numbers")
    return shape, fortran, dtype


def curve_layout(arrays: Arrays) -> str:
    """What is wrong with names, types and shapes in `curves.npz`; empty if nothing is."""
    steps = arrays.get("step")
    if steps is None or steps.ndim != 1 or not len(steps) or steps.dtype.kind not in "iu":
        return "step is missing or no row of whole numbers"
    leaves = [key.removesuffix("/typical") for key in arrays if key.endswith("/typical")]
    lags = {}
    for curve in sorted({leaf.split("/")[0] for leaf in leaves} | {"task"}):
        state = arrays.get(f"{curve}/{STATE}/typical")
        if state is None or state.ndim != 2 or not state.shape[1]:
            return f"{curve}/{STATE}/typical is missing or has other axes than checkpoint and lag"
        lags[curve] = state.shape[1]
    needed = [
        f"{key.rpartition('/')[0]}/{name}" for key in arrays if key.endswith("/typical") for name in STATISTICS
    ]
    for key in [*needed, "trace/loss"]:
        if key not in arrays:
            return f"{key} is missing"
    for key, array in arrays.items():
        wanted = _shape(key, len(steps), lags, arrays)
        if array.shape != wanted or array.dtype.kind not in "biuf":
            return f"{key} is {array.dtype} of shape {array.shape}, not numbers of shape {wanted}"
    return ""


def _shape(key: str, rows: int, lags: Mapping[str, int], arrays: Arrays) -> tuple[int, ...]:
    """The shape that an array of this name has beside the others; one that is not known may have any."""
    kind, last = key.partition("/")[0], key.rpartition("/")[2]
    if kind in lags:
        return (rows,) if last == "saturated" else (rows, lags[kind])
    if kind == "gate":
        return rows, 2
    if kind in ("trace", "test"):
        return (arrays.get("trace/loss" if kind == "trace" else "test/step", arrays[key]).size,)
    return arrays[key].shape


def norms_layout(arrays: Arrays) -> str:
    """What is wrong with `every.npz`: each leaf by training step and lag; empty if nothing is."""
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(min(shapes)) != 2 or any(array.dtype.kind != "f" for array in arrays.values()):
        return "its arrays are no numbers by training step and lag, all of one shape"
    return ""


def analyses_layout(arrays: Arrays) -> str:
    """What is wrong with `analyses.npz`: numbers under `<when>/<analysis>/<array>`; empty if nothing is."""
    for key, array in arrays.items():
        if key.count("/") < 2 or array.dtype.kind not in "if" or not 1 <= array.ndim <= 2:
            return f"{key} is {array.dtype} of shape {array.shape}, no rows of numbers of an analysis"
    return ""
