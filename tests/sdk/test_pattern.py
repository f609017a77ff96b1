from __future__ import annotations

from pathlib import Path

import pytest

from atdex.errors import BadSource
from atdex.pattern import expand_braces, find_files


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("a-{8..11}", ["a-8", "a-9", "a-10", "a-11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{x,y}-{0..1}", ["x-0", "x-1", "y-0", "y-1"]),
        ("{a,b{0..1}}c", ["ac", "b0c", "b1c"]),
        ("{,a}b", ["b", "ab"]),
        ("{a}", ["{a}"]),
        ("{a", ["{a"]),
        ("{a{1,2}", ["{a1", "{a2"]),
        ("}{", ["}{"]),
        ("", [""]),
    ],
)
def test_braces_stand_for_what_they_do_in_a_shell(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names


@pytest.mark.parametrize("pattern", ["{0..99999999999}", "{0..9}" * 20])
def test_a_pattern_for_too_many_names_is_refused(pattern: str) -> None:
    with pytest.raises(BadSource, match="more than 100,000"):
        expand_braces(pattern)


def test_files_are_found_by_path_folder_glob_and_braces(tmp_path: Path) -> None:
    names = ["a-0.tar", "a-1.tar", "b.tar", "c.txt", "odd{1,2}.tar"]
    for name in names:
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        return [path.name for path in find_files(str(tmp_path / pattern))]

    assert found("b.tar") == ["b.tar"]
    assert found("") == ["a-0.tar", "a-1.tar", "b.tar", "odd{1,2}.tar"]
    assert found("a-*.tar") == ["a-0.tar", "a-1.tar"]
    assert found("{b,a-{0..1}}.tar") == ["b.tar", "a-0.tar", "a-1.tar"]
    assert found("odd{1,2}.tar") == ["odd{1,2}.tar"]
    with pytest.raises(BadSource, match="there is no such file"):
        found("a-{0..2}.tar")
    with pytest.raises(BadSource, match="no file has such a name"):
        found("z*.tar")
