"""What holds for the project as a whole: budgets, boundaries, and that everything is documented."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import compile as compiling

ROOT = Path(__file__).resolve().parent.parent
MAKE_TARGETS = {"demo", "node", "test", "check", "bench"}
SERVER_PACKAGES = {
    "starlette", "uvicorn", "duckdb", "tantivy", "websockets", "pyarrow", "aiosqlite",
    "coincurve", "cryptography", "dns", "dnspython", "picows", "prometheus_client",
    "prometheus-client", "atdex_appview", "atdex_firehose",
}  # fmt: skip
IMPORT_BUDGET_SECONDS = 0.15
IMPORT_RUNS = 5
FOLDERS = {
    "lexicons/atdex_lexicons": set[str](),
    "xrpc/atdex_xrpc": {"atdex_lexicons"},
    "firehose/atdex_firehose": {"atdex_lexicons", "atdex_xrpc"},
    "appview/atdex_appview": {"atdex_lexicons", "atdex_xrpc", "atdex_firehose"},
    "sdk/atdex": {"atdex_lexicons", "atdex_xrpc"},
}
OURS = {Path(folder).name for folder in FOLDERS}
LARGEST_FILE = 800
PROSE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")


def test_importing_atdex_stays_within_its_budget() -> None:
    script = (
        "import sys, time; start = time.perf_counter(); import atdex; "
        "print(time.perf_counter() - start); print(*sys.modules)"
    )
    times = []
    modules: set[str] = set()
    for _ in range(IMPORT_RUNS):
        answer = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
        )
        first, names = answer.stdout.splitlines()
        times.append(float(first))
        modules = {name.partition(".")[0] for name in names.split()}
    assert min(times) < IMPORT_BUDGET_SECONDS
    assert not modules & SERVER_PACKAGES


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_package_imports_only_what_the_design_allows(folder: str) -> None:
    own = Path(folder).name
    for path, module in _imports(ROOT / folder):
        top = module.partition(".")[0]
        if top not in OURS or top == own:
            continue
        if path.is_relative_to(ROOT / "sdk" / "atdex" / "cli"):
            continue  # the node's commands import the node, when they are called
        assert top in FOLDERS[folder], f"{path.relative_to(ROOT)} imports {module}"


def test_no_file_is_too_long_to_read_in_one_go() -> None:
    for folder in (*FOLDERS, "tests", "demo", "docs"):
        for path in _sources(ROOT / folder):
            lines = len(path.read_text().splitlines())
            assert lines <= LARGEST_FILE, f"{path.relative_to(ROOT)} has {lines} lines"


def test_every_make_target_that_others_rely_on_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets >= MAKE_TARGETS


def test_every_command_is_documented() -> None:
    from atdex.cli import COMMANDS

    text = (ROOT / "docs" / "reference" / "commands.md").read_text()
    for name in COMMANDS:
        assert f"## `atdex {name}" in text


def test_every_xrpc_document_is_in_the_reference() -> None:
    text = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    for path in (ROOT / "lexicons" / "atdex_lexicons" / "documents").rglob("*.json"):
        nsid = json.loads(path.read_text())["id"]
        assert f"## `{nsid}`" in text, nsid


def test_every_link_between_the_pages_leads_somewhere() -> None:
    pages = [ROOT / name for name in PROSE if name.endswith(".md")]
    pages += [*(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not target.startswith("at:"):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"


def test_every_test_that_an_invariant_names_exists() -> None:
    text = (ROOT / "docs" / "invariants.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert named
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def test_the_base_install_asks_for_no_server_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {re.split(r"[\[<>=~ ]", requirement)[0] for requirement in project["dependencies"]}
    assert not base & SERVER_PACKAGES


def _sources(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.py"):
        if "node_modules" not in path.parts:
            yield path


def _imports(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in _sources(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                yield path, node.module


def test_compiled_modules_are_those_of_the_sources() -> None:
    """`make compile` leaves modules that Python prefers: a changed source would not be seen."""
    made_from = compiling.PACKAGE / compiling.MADE_FROM
    compiled = list(compiling.PACKAGE.glob("*.so"))
    assert bool(compiled) == made_from.is_file()
    if compiled:
        assert made_from.read_text() == compiling.digest(), (
            "run `make compile` again, or `make clean`"
        )


def test_every_module_that_is_compiled_is_there() -> None:
    assert all((compiling.PACKAGE / f"{module}.py").is_file() for module in compiling.MODULES)
