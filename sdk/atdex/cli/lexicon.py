"""`atdex lexicon`: work with lexicon documents."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from atdex_lexicons import Catalog, InvalidDocument, InvalidRecord, Problem, UnknownLexicon
from atdex_lexicons.document import check_document, unresolved
from atdex_lexicons.errors import shown
from atdex_lexicons.evolution import check_evolution
from atdex_lexicons.reading import read_json

app = App(name="lexicon", help="Work with lexicon documents.")

FILES_MAX = 10_000
"""Files read in one call: a typo such as `check /` must end."""


@dataclass
class Checked:
    """One file and what was found in it. `value` is its JSON, once it could be read."""

    file: Path
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The NSID of the document or the type of the record, where it has one."""
        name = self.value.get("id", self.value.get("$type")) if isinstance(self.value, dict) else ""
        return name if isinstance(name, str) else ""

    @property
    def is_record(self) -> bool:
        return isinstance(self.value, dict) and "$type" in self.value and "defs" not in self.value


@app.command
def check(
    *files: Path,
    evolution: bool = True,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check documents against the Lexicon specification, and each other.

    Exit code 0 only if all are valid.

    Parameters
    ----------
    files
        Documents, records (JSON objects with `$type`, checked against the documents), or folders
        of both. References are looked up in the given documents, then in those of atdex.
    evolution
        Hold a document that atdex knows by its NSID against what is published, by the rules for
        the evolution of lexicons.
    json
        Print one JSON object.
    """
    if not files:
        print("atdex: name a file or a folder to check", file=sys.stderr)
        return 2
    results = [_read(path) for path in _expand(files)]
    _check_all(results, evolution)
    valid = not any(result.problems for result in results)
    if json:
        print(json_text.dumps({"valid": valid, "files": [_as_json(result) for result in results]}))
    else:
        _print(results)
    return 0 if valid else 1


def _expand(files: tuple[Path, ...]) -> Iterator[Path]:
    count = 0
    for path in files:
        found = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        count += len(found)
        if count > FILES_MAX:
            raise InvalidDocument(
                str(path), [Problem("", f"there are more than {FILES_MAX} files to check")]
            )
        if not found:
            raise InvalidDocument(str(path), [Problem("", "the folder has no .json file")])
        yield from found


def _read(path: Path) -> Checked:
    result = Checked(path)
    try:
        result.value = read_json(path)
    except OSError as error:
        result.problems.append(Problem("", f"cannot be read: {error.strerror or error}"))
    except InvalidDocument as error:
        result.problems += error.problems
    return result


def _check_all(results: list[Checked], evolution: bool) -> None:
    """Fill in the problems and notes of every file that could be read."""
    bundled = Catalog.bundled()
    documents = [result for result in results if not result.problems and not result.is_record]
    given: dict[str, Checked] = {}
    for result in documents:
        first = given.setdefault(result.name, result)
        if first is not result and first.value != result.value:
            reason = f"{shown(result.name)} is also in {first.file}, with different contents"
            result.problems.append(Problem("/id", reason))

    def resolve(nsid: str) -> Mapping[str, Any] | None:
        if nsid in given:
            value: dict[str, Any] = given[nsid].value
            return value
        return bundled.document(nsid) if nsid in bundled else None

    for result in documents:
        result.problems += check_document(result.value, resolve)
        if result.problems:
            continue
        if evolution and result.name in bundled:
            result.problems += check_evolution(bundled.document(result.name), result.value)
        missing = unresolved(result.value, resolve)
        result.notes += [f"refers to {nsid}, which was not given" for nsid in missing]
    known = {nsid: bundled.document(nsid) for nsid in bundled.nsids()}
    known.update({name: result.value for name, result in given.items() if not result.problems})
    catalog = Catalog(known)
    broken = {name for name, result in given.items() if result.problems}
    for result in results:
        if result.is_record and not result.problems:
            _check_record(result, catalog, broken)


def _check_record(result: Checked, catalog: Catalog, broken: set[str]) -> None:
    if result.name in broken:
        result.problems.append(Problem("/$type", f"the document {shown(result.name)} is not valid"))
        return
    try:
        catalog.validate_record(result.value)
    except InvalidRecord as error:
        result.problems += error.problems
    except UnknownLexicon as error:
        result.problems.append(Problem("/$type", str(error)))


def _as_json(result: Checked) -> dict[str, Any]:
    return {
        "file": str(result.file),
        "nsid": result.name or None,
        "valid": not result.problems,
        "problems": [problem._asdict() for problem in result.problems],
        "notes": result.notes,
    }


def _print(results: list[Checked]) -> None:
    for result in results:
        for problem in result.problems:
            print(f"{result.file}: {problem}")
        for note in result.notes:
            print(f"{result.file}: note: {note}")
    wrong = sum(1 for result in results if result.problems)
    print(f"{len(results)} checked, {wrong} not valid" if wrong else f"{len(results)} valid")
