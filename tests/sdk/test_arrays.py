from __future__ import annotations

import io
import pickle
import struct
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from atdex.arrays import ArrayReader, decode_array, encode_array
from atdex.errors import BadArray
from tests.sdk.shards import fixture

DTYPES = st.one_of(
    npst.integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(endianness="?"),
    npst.boolean_dtypes(),
    npst.byte_string_dtypes(min_len=1, max_len=8),
    npst.unicode_string_dtypes(min_len=1, max_len=8),
    npst.datetime64_dtypes(),
)


def golden(name: str) -> bytes:
    return b64decode(fixture("codecs.json")[name]["b64"])


def test_the_golden_ndarray_bytes_are_read_and_written_to_the_byte() -> None:
    array = decode_array(golden("ndarray"))
    assert array.dtype == np.dtype("<f4")
    assert array.tolist() == fixture("codecs.json")["ndarray"]["value"]
    assert encode_array(array) == golden("ndarray")


def test_the_golden_structured_bytes_are_read_and_written_to_the_byte() -> None:
    array = decode_array(golden("structured"))
    assert array.dtype.names == ("x", "y")
    assert [list(row) for row in array.tolist()] == fixture("codecs.json")["structured"]["value"]
    assert encode_array(array) == golden("structured")


def test_the_layout_is_the_documented_one() -> None:
    data = bytes.fromhex("033c6932 02 0100000000000000 0300000000000000 010002000300")
    array = decode_array(data)
    assert array.dtype == np.dtype("<i2")
    assert array.tolist() == [[1, 2, 3]]
    assert encode_array(array) == data


def test_an_array_is_a_read_only_view_of_its_bytes() -> None:
    data = bytearray(encode_array(np.arange(6, dtype="<i4")))
    array = decode_array(data)
    assert not array.flags.writeable
    data[-4:] = struct.pack("<i", 99)
    assert array[-1] == 99  # nothing was copied


@given(array=npst.arrays(DTYPES, npst.array_shapes(min_dims=0, max_dims=4, min_side=0)))
@settings(max_examples=100, deadline=None)
def test_every_array_comes_back_with_its_dtype_byte_order_and_shape(
    array: np.ndarray[Any, Any],
) -> None:
    back = decode_array(encode_array(array))
    assert (back.dtype.str, back.shape) == (array.dtype.str, array.shape)
    assert back.tobytes() == array.tobytes()


@given(array=npst.arrays(DTYPES, npst.array_shapes(max_dims=3, min_side=0)), fortran=st.booleans())
@settings(max_examples=50, deadline=None)
def test_npy_as_numpy_writes_it_is_read_in_either_order(
    array: np.ndarray[Any, Any], fortran: bool
) -> None:
    out = io.BytesIO()
    np.save(out, np.asfortranarray(array) if fortran else array, allow_pickle=False)
    back = decode_array(out.getvalue())
    assert back.dtype.str == array.dtype.str
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(data=st.binary(max_size=64))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_an_array_or_a_clear_error(data: bytes) -> None:
    try:
        decode_array(data)
    except BadArray as error:
        assert str(error)


@given(at=st.integers(0, 30), value=st.integers(0, 255), npy=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_of_a_header_is_an_array_or_a_clear_error(
    at: int, value: int, npy: bool
) -> None:
    data = bytearray(golden("structured" if npy else "ndarray"))
    data[at] = value
    try:
        decode_array(data)
    except BadArray as error:
        assert str(error)


def header(dtype: str, *shape: int) -> bytes:
    text = dtype.encode()
    return bytes([len(text)]) + text + struct.pack(f"<B{len(shape)}q", len(shape), *shape)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes end within the header"),
        (b"\x03<f4", "end within the header"),
        (header("<f4", 2) + b"1234", "takes 8 bytes, and 4 are there"),
        (header("<f4", 1) + b"12345", "takes 4 bytes, and 5 are there"),
        (header("|O", 1) + b"12345678", "Python objects"),
        (header("<f4", -1), "negative dimension"),
        (header("<f8", 2**62, 4), "takes 147573952589676412928 bytes"),
        (header("<f8", 2**62, 0), "no array can have the shape"),
        (header("|S0", 2**62), "4611686018427387904 elements of"),
        (header("<U0", 1), "which has no bytes"),
        (header("<f3", 1) + b"123", "is no dtype"),
        (header("i4,f4", 1), "is no dtype of plain numbers"),
        (b"\x03<f4\xff" + bytes(8 * 255), "255 dimensions"),
    ],
)
def test_hostile_headers_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadArray, match=reason):
        decode_array(data)


def npy(header_text: str, body: bytes = b"") -> bytes:
    text = header_text.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x93NUMPY\x01\x00", "end within the header"),
        (b"\x93NUMPX\x01\x00aaaaaaaaa", "are none"),
        (b"\x93NUMPY\x09\x00aaaaaaaaa", "unknown version"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "Python objects"),
        (npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }"), "objects"),
        (npy("__import__('os').system('true')"), "no Python literal"),
        (npy("(" * 5000), "no Python literal"),
        (npy("[]"), "without exactly descr"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "negative"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': [1], }"), "no tuple"),
        (npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }"), "no truth value"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", b"1234"), "takes 8"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"x" * 20, "more than 10000"),
        (npy("{'descr': [('a', 1)], 'fortran_order': False, 'shape': (1,), }"), "neither text"),
    ],
)
def test_hostile_npy_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadArray, match=reason):
        decode_array(data)


def test_a_pickle_is_never_loaded() -> None:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for data in (out.getvalue(), pickle.dumps(np.arange(3))):
        with pytest.raises(BadArray):
            decode_array(data)


def test_an_array_of_objects_is_not_written() -> None:
    with pytest.raises(BadArray, match="never written"):
        encode_array(np.array([object()]))


def test_a_declared_dtype_is_held_to_and_byte_order_is_not_compared() -> None:
    reader = ArrayReader(np.int16)
    assert reader.read(memoryview(encode_array(np.array([1], ">i2")))).tolist() == [1]
    with pytest.raises(BadArray, match="is float32, and the field declares int16"):
        reader.read(memoryview(encode_array(np.array([1], "<f4"))))
    assert ArrayReader(np.floating).read(memoryview(encode_array(np.zeros(1, "f2")))).size == 1


def test_a_declared_shape_is_held_to() -> None:
    reader = ArrayReader(None, (-1, 3))
    assert reader.read(memoryview(encode_array(np.zeros((5, 3))))).shape == (5, 3)
    for shape in ((5, 4), (3,), (1, 5, 3)):
        with pytest.raises(BadArray, match="the field declares"):
            reader.read(memoryview(encode_array(np.zeros(shape))))


def test_a_header_seen_before_does_not_excuse_a_wrong_size() -> None:
    reader = ArrayReader()
    data = encode_array(np.zeros(4, "u1"))
    reader.read(memoryview(data))
    for wrong in (data[:-1], data + b"x"):
        with pytest.raises(BadArray, match="takes 4 bytes"):
            reader.read(memoryview(wrong))
