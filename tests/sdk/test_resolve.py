from __future__ import annotations

from pathlib import Path

import pytest

from atdex.errors import BadSource
from atdex.resolve import ByName, ByPath, ByUri, ByUrl, Source, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("at://did:plc:a/b.c.d/e", ByUri("at://did:plc:a/b.c.d/e")),
        ("@alice.example/digits", ByName("alice.example", "digits", None)),
        ("@alice.example/digits@1.0.0", ByName("alice.example", "digits", "1.0.0")),
        ("@did:plc:abc/my/name@2", ByName("did:plc:abc", "my/name", "2")),
        ("https://example.org/{0..3}.tar", ByUrl("https://example.org/{0..3}.tar")),
        ("HTTP://example.org/a.tar", ByUrl("HTTP://example.org/a.tar")),
        ("data/a.tar", ByPath("data/a.tar")),
        ("/data/a:b.tar", ByPath("/data/a:b.tar")),
        ("C:\\data\\a.tar", ByPath("C:\\data\\a.tar")),
    ],
)
def test_a_source_is_told_by_its_form(text: str, source: Source) -> None:
    assert parse_source(text) == source


def test_a_path_object_is_a_path_whatever_it_looks_like() -> None:
    assert parse_source(Path("@a/b")) == ByPath("@a/b")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("at://", "not a valid at-uri"),
        ("at://did:plc:a", "names no record"),
        ("at://did:plc:a/b.c.d", "names no record"),
        ("@alice.example", "the form is"),
        ("@alice.example/", "the form is"),
        ("@alice.example/name@", "the form is"),
        ("@no handle/name", "the form is"),
        ("pipe:ls", "pipe: is never opened"),
        ("file:///etc/passwd", "give the path itself"),
        ("s3://bucket/key", "s3: is never opened"),
        ("gs://bucket/key", "never opened"),
    ],
)
def test_a_source_that_is_none_is_a_clear_error(text: str, reason: str) -> None:
    with pytest.raises(BadSource, match=reason):
        parse_source(text)
