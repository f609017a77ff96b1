"""Arrays as bytes: reading and writing them.

Two encodings are read, told apart by their first byte:

- *ndarray bytes*: `u8 length of dtype.str | dtype.str in ASCII | u8 ndim | ndim x i64 little
  endian shape | data in C order`. (Source: the atdata array format, version 1.0.0.)
- `.npy` (NumPy's own format, versions 1 to 3), which begins with `\\x93NUMPY`; this is also the
  encoding of structured arrays. Pickled objects are refused, always.

Arrays are read-only views into the bytes they were read from: nothing is copied, byte order and
shape are kept as written. The bytes are hostile until proven otherwise: every header is checked
against the number of bytes that are there before an array is made.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from atdex.errors import BadArray, shown

Array = np.ndarray[Any, Any]

MAX_DIMENSIONS: Final = 64
"""NumPy's own limit."""

MAX_NPY_HEADER: Final = 10_000
"""Bytes of a `.npy` header: NumPy's own bound for headers that it did not write itself."""

MAX_DESCR_DEPTH: Final = 16
"""Levels of nesting in a structured dtype; real ones have two or three."""

MAX_KNOWN_HEADERS: Final = 1024
"""Headers a reader remembers. A dataset has a handful; the bound is against a hostile one."""

_NPY_MAGIC: Final = b"\x93NUMPY"
_SIMPLE_DTYPE: Final = re.compile(
    r"[<>|=]?(?:[biufcSUV][0-9]{1,9}|[mM]8(?:\[[0-9]{0,9}[a-zA-Zμ]{1,7}\])?)"
)


class Header(NamedTuple):
    """What stands before the data: `offset` is where the data begins, `nbytes` its exact length."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    fortran_order: bool


class ArrayReader:
    """Reads the arrays of one field, and holds them to the dtype and shape that it declares.

    `dtype` is a NumPy scalar type, abstract ones (`np.floating`) included, or None for any; byte
    order is not compared. `shape` has -1 for a dimension of any length, or is None for any.
    """

    __slots__ = ("_known", "dtype", "shape")

    def __init__(
        self, dtype: type[np.generic] | None = None, shape: tuple[int, ...] | None = None
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        # Samples of a dataset repeat a few headers: parsed and checked once, looked up after.
        self._known: dict[bytes, Header] = {}

    def read(self, data: memoryview) -> Array:
        """The array in `data`, as a read-only view of it. Raises BadArray."""
        try:
            text = data[0]
            if text == _NPY_MAGIC[0]:  # no dtype.str is this long
                return self._read_npy(data)
            end = 2 + text + 8 * data[1 + text]
        except IndexError:
            raise BadArray(_too_short(len(data))) from None
        key = bytes(data[:end])
        header = self._known.get(key)
        if header is None:
            return self._read_new(key, data)
        dtype, shape, offset, nbytes, _ = header
        if len(data) - offset != nbytes:
            raise BadArray(_wrong_size(header, len(data) - offset))
        return np.ndarray(shape, dtype, data, offset)

    def _read_new(self, key: bytes, data: memoryview) -> Array:
        header = parse_header(data)
        array = self._first(header, data)
        if len(self._known) >= MAX_KNOWN_HEADERS:
            self._known.clear()
        self._known[key] = header
        return array

    def _read_npy(self, data: memoryview) -> Array:
        if bytes(data[: len(_NPY_MAGIC)]) != _NPY_MAGIC:
            raise BadArray("bytes that begin like a .npy and are none")
        return self._first(parse_npy_header(data), data)

    def _first(self, header: Header, data: memoryview) -> Array:
        self._check(header)
        if len(data) - header.offset != header.nbytes:
            raise BadArray(_wrong_size(header, len(data) - header.offset))
        order: Literal["F", "C"] = "F" if header.fortran_order else "C"
        try:
            return np.ndarray(header.shape, header.dtype, data, header.offset, order=order)
        except (ValueError, MemoryError) as error:  # NumPy's own limits, on empty arrays too
            raise BadArray(f"no array can have the shape {header.shape}: {error}") from None

    def _check(self, header: Header) -> None:
        if self.dtype is not None and not np.issubdtype(header.dtype, self.dtype):
            raise BadArray(
                f"the array is {header.dtype}, and the field declares {self.dtype.__name__}"
            )
        wanted = self.shape
        if wanted is not None and (
            len(wanted) != len(header.shape)
            or any(w not in (-1, h) for w, h in zip(wanted, header.shape, strict=True))
        ):
            raise BadArray(
                f"the array has shape {header.shape}, and the field declares {wanted} "
                "(-1: any length)"
            )


def decode_array(data: bytes | bytearray | memoryview) -> Array:
    """The array in `data`, of any dtype and shape, as a read-only view. Raises BadArray."""
    return ArrayReader().read(memoryview(data).toreadonly().cast("B"))


def encode_array(array: Array) -> bytes:
    """`array` as ndarray bytes, or as `.npy` where its dtype has fields.

    Raises BadArray for arrays of Python objects, which no reader would take.
    """
    if array.dtype.hasobject:
        raise BadArray(f"an array of {array.dtype} holds Python objects, which are never written")
    if array.dtype.names is not None:
        return _encode_npy(array)
    text = array.dtype.str.encode("ascii")
    head = struct.pack(f"<B{len(text)}sB{array.ndim}q", len(text), text, array.ndim, *array.shape)
    return head + array.tobytes("C")


def parse_header(data: memoryview) -> Header:
    """The header of ndarray bytes. Raises BadArray. The length of the data is not compared."""
    text_end = 1 + data[0]
    if len(data) <= text_end:
        raise BadArray(_too_short(len(data)))
    dtype = parse_dtype(bytes(data[1:text_end]).decode("latin-1"))
    ndim = data[text_end]
    if ndim > MAX_DIMENSIONS:
        raise BadArray(f"{ndim} dimensions, more than the {MAX_DIMENSIONS} that an array can have")
    offset = text_end + 1 + 8 * ndim
    if len(data) < offset:
        raise BadArray(_too_short(len(data)))
    shape = struct.unpack_from(f"<{ndim}q", data, text_end + 1)
    return _header(dtype, shape, offset, fortran_order=False)


def parse_npy_header(data: memoryview) -> Header:
    """The header of `.npy` bytes. Raises BadArray. The length of the data is not compared."""
    if len(data) < 12:
        raise BadArray(_too_short(len(data)))
    major = data[6]
    if major not in (1, 2, 3):
        raise BadArray(f"a .npy of the unknown version {major}.{data[7]}")
    start, fmt = (10, "<H") if major == 1 else (12, "<I")
    length = struct.unpack_from(fmt, data, 8)[0]
    if length > MAX_NPY_HEADER:
        raise BadArray(f"a .npy header of {length} bytes, more than {MAX_NPY_HEADER}")
    if len(data) < start + length:
        raise BadArray(_too_short(len(data)))
    try:
        text = bytes(data[start : start + length]).decode("utf-8" if major == 3 else "latin-1")
        header = ast.literal_eval(text.strip())  # literals alone: nothing is run
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadArray("a .npy header that is no Python literal") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise BadArray("a .npy header without exactly descr, fortran_order and shape")
    shape, fortran_order = header["shape"], header["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise BadArray(f"a .npy shape that is no tuple of integers: {shown(shape)}")
    if not isinstance(fortran_order, bool):
        raise BadArray("a .npy header whose fortran_order is no truth value")
    if len(shape) > MAX_DIMENSIONS:
        raise BadArray(f"{len(shape)} dimensions, more than the {MAX_DIMENSIONS} of an array")
    return _header(_descr_dtype(header["descr"], 0), shape, start + length, fortran_order)


def parse_dtype(text: str) -> np.dtype[Any]:
    """A dtype from `dtype.str`. Python objects and everything unusual raise BadArray."""
    if not _SIMPLE_DTYPE.fullmatch(text):
        if text.lstrip("<>|=").startswith("O"):
            raise BadArray("an array of Python objects, which is never read")
        raise BadArray(f"{shown(text)} is no dtype of plain numbers, text, bytes or times")
    try:
        return np.dtype(text)
    except (TypeError, ValueError):
        raise BadArray(f"{shown(text)} is no dtype") from None


def _descr_dtype(descr: object, depth: int) -> np.dtype[Any]:
    """A dtype from the `descr` of a `.npy` header, built from checked parts alone."""
    if depth > MAX_DESCR_DEPTH:
        raise BadArray(f"a structured dtype of more than {MAX_DESCR_DEPTH} levels")
    if isinstance(descr, str):
        return parse_dtype(descr)
    if not isinstance(descr, list):
        raise BadArray(f"a .npy dtype that is neither text nor a list of fields: {shown(descr)}")
    fields: list[tuple[str, np.dtype[Any]]] = []
    for entry in descr:
        match entry:
            case (str(name), inner):
                dtype = _descr_dtype(inner, depth + 1)
            case (str(name), inner, tuple(shape)) if all(type(n) is int and n >= 0 for n in shape):
                base = _descr_dtype(inner, depth + 1)
                try:
                    dtype = np.dtype((base, shape))
                except (ValueError, TypeError) as error:
                    raise BadArray(f"a structured dtype that NumPy refuses: {error}") from None
            case _:
                raise BadArray(f"a field of a structured dtype that is none: {shown(entry)}")
        fields.append((name, dtype))
    try:
        return np.dtype(fields)
    except (ValueError, TypeError) as error:
        raise BadArray(f"a structured dtype that NumPy refuses: {error}") from None


def _header(
    dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, fortran_order: bool
) -> Header:
    if any(n < 0 for n in shape):
        raise BadArray(f"a negative dimension in the shape {shape}")
    count = math.prod(shape)
    if count and not dtype.itemsize:
        # Nothing would say that 2**62 of them are too many, and a loop over them has no end.
        raise BadArray(f"{count} elements of {dtype}, which has no bytes")
    return Header(dtype, shape, offset, count * dtype.itemsize, fortran_order)


def _encode_npy(array: Array) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=False)
    return out.getvalue()


def _too_short(length: int) -> str:
    return f"{length} bytes end within the header of an array"


def _wrong_size(header: Header, got: int) -> str:
    return (
        f"an array of shape {header.shape} and dtype {header.dtype} takes {header.nbytes} bytes, "
        f"and {got} are there"
    )
