"""`atdex lexicon`: work with lexicon documents."""

from __future__ import annotations

import json as json_text
import os
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


@app.command
def add(nsid: str, /, *, config: Path | None = None, data_dir: Path | None = None) -> int:
    """Have a node index a record type that no family of datasets knows.

    Its lexicon is resolved through its authority. A node that runs on the data folder takes it up
    within a second or so; else the next one that starts there does.

    Parameters
    ----------
    nsid
        The record type, such as com.example.note.
    config
        Configuration file; without it, atdex.toml in the current folder where there is one.
    data_dir
        Folder of the node's stores.
    """
    from atdex_appview.network.file import CollectionsFile
    from atdex_appview.network.lexicons import is_of_the_network

    if not is_of_the_network(nsid):
        print(f"atdex: {shown(nsid)} is no NSID, or one that atdex knows anyway", file=sys.stderr)
        return 2
    file = CollectionsFile.open(_collections(config, data_dir))
    try:
        with file.writing() as sql:
            sql.execute("INSERT OR IGNORE INTO wanted VALUES (?)", [nsid])
    finally:
        file.close()
    print(f"{nsid} is wanted; `atdex lexicon list` shows what becomes of it")
    return 0


@app.command
def remove(nsid: str, /, *, config: Path | None = None, data_dir: Path | None = None) -> int:
    """Have a node index a record type no more that was added. Its records stay, unlisted.

    Parameters
    ----------
    nsid
        The record type.
    config
        Configuration file; without it, atdex.toml in the current folder where there is one.
    data_dir
        Folder of the node's stores.
    """
    from atdex_appview.network.file import CollectionsFile

    file = CollectionsFile.open(_collections(config, data_dir))
    try:
        with file.writing() as sql:
            gone = sql.execute("DELETE FROM wanted WHERE nsid = ?", [nsid]).rowcount
    finally:
        file.close()
    if not gone:
        print(f"atdex: {shown(nsid)} was not added here", file=sys.stderr)
        return 1
    print(f"{nsid} is not wanted any more")
    return 0


@app.command(name="list")
def list_(
    *,
    config: Path | None = None,
    data_dir: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show the record types that were added, and what is known of their lexicons.

    Parameters
    ----------
    config
        Configuration file; without it, atdex.toml in the current folder where there is one.
    data_dir
        Folder of the node's stores.
    json
        Print one JSON object.
    """
    from atdex_appview.network.file import CollectionsFile
    from atdex_appview.network.lexicons import states_of

    file = CollectionsFile.open(_collections(config, data_dir))
    try:
        states = states_of(file)
    finally:
        file.close()
    if json:
        found = [
            {"collection": each.nsid, "publisher": each.did, "cid": each.cid}
            | ({"problem": each.problem} if each.problem else {})
            for each in states
        ]
        print(json_text.dumps({"lexicons": found}))
        return 0
    for each in states:
        known = f"by {each.did}" if each.did else "not resolved yet"
        problem = f": {shown(each.problem)}" if each.problem else ""
        print(f"{each.nsid}  {known}{problem}")
    return 0


def _collections(config: Path | None, data_dir: Path | None) -> Path:
    """The file of collections of the node that the settings are about."""
    from atdex_appview.config import FILE_NAME as CONFIG_FILE
    from atdex_appview.config import load_config
    from atdex_appview.network.file import FILE_NAME

    file = config
    if file is None and Path(CONFIG_FILE).is_file():
        file = Path(CONFIG_FILE)
    return load_config(file, os.environ, {"data_dir": data_dir}).data_dir / FILE_NAME


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
