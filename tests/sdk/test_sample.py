from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, Optional

import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

import atdex
from atdex.decode import SampleDecoder
from atdex.errors import BadSample, BadSampleType
from atdex.sample import show_value
from tests.sdk.shards import pack


def decode(sample_type: type[Any], raw: bytes) -> Any:
    return SampleDecoder(sample_type).decode(raw, "s.tar", "k")


@atdex.packable
class Inner:
    a: int
    image: NDArray[np.float32]


@atdex.packable
class Wide:
    any_array: np.ndarray[Any, Any]
    typed: NDArray[np.uint8]
    maybe: NDArray[np.uint8] | None
    old_style: Optional[NDArray[np.uint8]]  # noqa: UP045 - what users have
    text: str
    number: float
    whole: int
    truth: bool
    raw: bytes
    words: list[str]
    bare_list: list[Any]
    counts: dict[str, int]
    inner: Inner
    inners: list[Inner]
    arrays: dict[str, NDArray[np.uint8]]
    anything: Any
    either: int | str
    noted: str = "none"
    listed: list[int] = dataclasses.field(default_factory=list)


def wide() -> dict[str, Any]:
    array = atdex.encode_array(np.arange(3, dtype="u1"))
    inner = {"a": 1, "image": atdex.encode_array(np.zeros(2, "<f4"))}
    return {
        "any_array": atdex.encode_array(np.array(7, ">i8")),
        "typed": array,
        "maybe": None,
        "old_style": array,
        "text": "ü",
        "number": 1,
        "whole": 2**63,
        "truth": True,
        "raw": b"\x00",
        "words": ["a"],
        "bare_list": [1, "x", None],
        "counts": {"a": 1},
        "inner": inner,
        "inners": [inner, inner],
        "arrays": {"x": array},
        "anything": {"a": [1]},
        "either": "e",
    }


def test_every_kind_of_field_is_decoded_to_its_type() -> None:
    sample = decode(Wide, msgpack.packb(wide()))
    assert sample.any_array.dtype == np.dtype(">i8")
    assert sample.any_array.shape == ()
    assert sample.typed.tolist() == sample.old_style.tolist() == [0, 1, 2]
    assert sample.maybe is None
    assert (sample.number, type(sample.number)) == (1.0, float)
    assert sample.whole == 2**63
    assert sample.inner == sample.inners[1] == Inner(1, np.zeros(2, np.float32))
    assert sample.arrays["x"].tolist() == [0, 1, 2]
    assert (sample.anything, sample.either) == ({"a": [1]}, "e")
    assert (sample.noted, sample.listed) == ("none", [])


def test_a_mutable_default_is_not_shared_between_samples() -> None:
    raw = msgpack.packb(wide())
    first, second = decode(Wide, raw), decode(Wide, raw)
    first.listed.append(1)
    assert second.listed == []


def test_keys_that_the_class_does_not_know_are_passed_over() -> None:
    raw = msgpack.packb({"a": 1, "image": wide()["inner"]["image"], "new": {"x": [1]}})
    assert decode(Inner, raw).a == 1


def test_a_missing_optional_field_is_none_and_a_missing_required_one_is_named() -> None:
    values = wide()
    del values["maybe"]
    assert decode(Wide, msgpack.packb(values)).maybe is None
    del values["inner"]["a"]
    with pytest.raises(BadSample) as caught:
        decode(Wide, msgpack.packb(values))
    error = caught.value
    assert (error.shard, error.key, error.field) == ("s.tar", "k", "inner.a")
    assert "required and missing" in str(error)


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"text": 1}, "text", "Expected `str`, got `int`"),
        ({"whole": 1.5}, "whole", "Expected `int`"),
        ({"typed": "no"}, "typed", "got `str`"),
        ({"typed": None}, "typed", "got `null`|got `None`"),
        ({"typed": b"\x03"}, "typed", "end within the header"),
        ({"typed": atdex.encode_array(np.zeros(1, "f8"))}, "typed", "declares uint8"),
        ({"inners": [{"a": 1, "image": b""}]}, "inners.image", "end within the header"),
        ({"words": ["a", 1]}, "words[1]", "Expected `str`"),
        ({"counts": {"a": "x"}}, "counts[...]", "Expected `int`"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_with_shard_key_and_field(
    change: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(BadSample, match=reason) as caught:
        decode(Wide, msgpack.packb(wide() | change))
    assert (caught.value.shard, caught.value.key, caught.value.field) == ("s.tar", "k", field)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\x81\xa1a",
        b"\x90",
        b"\x01",
        msgpack.packb({"a": 1}) + b"x",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a" + b"\x91" * 100_000,
        b"\xdf\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("sample_type", [Inner, dict])
def test_bytes_that_are_no_sample_are_a_clear_error(raw: bytes, sample_type: type[Any]) -> None:
    with pytest.raises(BadSample):
        decode(sample_type, raw)


def test_a_dict_is_the_map_as_it_is_stored() -> None:
    assert decode(dict, msgpack.packb({"a": b"\x01", "b": [1, None]})) == {
        "a": b"\x01",
        "b": [1, None],
    }


def test_arrays_are_read_only_views_of_the_shard() -> None:
    raw = pack({"a": 1, "image": np.zeros(4, np.float32)})
    image = decode(Inner, raw).image
    assert not image.flags.writeable
    assert not image.flags.owndata


def test_samples_are_equal_when_their_arrays_are() -> None:
    assert Inner(1, np.array([1, np.nan], "f4")) == Inner(1, np.array([1, np.nan], "f4"))
    assert Inner(1, np.zeros(2, "f4")) != Inner(1, np.zeros(3, "f4"))
    assert Inner(1, np.zeros(2, "f4")) != Inner(1, np.zeros(2, "f8"))
    other: object = 1
    assert Inner(1, np.zeros(1, "f4")) != other
    with pytest.raises(TypeError, match="unhashable"):
        hash(Inner(1, np.zeros(1, "f4")))


def test_a_sample_shows_itself_on_one_line() -> None:
    assert repr(Inner(1, np.zeros((2, 3), "f4"))) == "Inner(a=1, image=float32[2, 3])"
    assert show_value("x" * 1000).endswith("…")
    assert show_value(b"x" * 1000) == "<1,000 bytes>"
    assert show_value([1, b"a", {"b": 2}]) == "[1, b'a', {'b': 2}]"
    assert show_value(list(range(100))) == "<list of 100>"


def test_a_value_of_a_thousand_levels_is_shown_cut() -> None:
    value: object = 1
    for _ in range(1000):
        value = [{"a": value}]
    assert show_value(value).count("[") == 8
    assert "…" in show_value(value)


def test_a_plain_dataclass_is_a_sample_type_and_its_own_methods_stay() -> None:
    @atdex.packable
    @dataclasses.dataclass(frozen=True)
    class Own:
        a: int

        def __post_init__(self) -> None:
            assert self.a >= 0

    assert decode(Own, msgpack.packb({"a": 2})) == Own(2)

    @atdex.packable
    class Named:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # as Python does itself

        def __repr__(self) -> str:
            return "mine"

    assert repr(Named(1)) == "mine"
    other: object = 5
    assert Named(1) == other


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (set, "is no type of samples"),
        (Path, "is no type of samples"),
        (Literal["a"], "is no type of samples"),
        (int | list[int], "a union of more"),
        (str | bytes, "a union of more"),
        (dict[bytes, int], "keys of a map"),
        (np.ndarray[Any, np.dtype[Any]] | int, "a union of more"),
    ],
)
def test_a_type_that_samples_cannot_have_is_refused_when_the_class_is_made(
    annotation: Any, reason: str
) -> None:
    made = dataclasses.make_dataclass("Made", [("x", annotation)])
    with pytest.raises(BadSampleType, match=reason) as caught:
        atdex.packable(made)
    assert (caught.value.sample_type, caught.value.field) == ("Made", "x")


def test_what_is_no_packable_class_is_refused() -> None:
    with pytest.raises(BadSampleType, match=r"a class with @atdex\.packable"):
        SampleDecoder(int)


@atdex.packable
class Forward:
    later: Later
    itself: int = 0


@atdex.packable
class Later:
    a: int


@atdex.packable
class Endless:
    again: list[Endless]


def test_a_class_may_name_one_that_is_defined_further_down() -> None:
    assert decode(Forward, msgpack.packb({"later": {"a": 3}})) == Forward(Later(3))


def test_a_class_that_contains_itself_is_refused() -> None:
    with pytest.raises(BadSampleType, match="nested deeper"):
        SampleDecoder(Endless)
