from __future__ import annotations

import subprocess
import sys

import pytest

import atdex

HEAVY = (
    "starlette", "uvicorn", "duckdb", "tantivy", "websockets", "pyarrow", "aiosqlite", "coincurve",
    "cryptography", "dns", "picows", "prometheus_client", "pandas", "polars", "torch", "webdataset",
    "atdex_appview", "atdex_firehose",
)  # fmt: skip


def modules_after(code: str) -> set[str]:
    """The top-level packages that are loaded after `code` ran in a new interpreter."""
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {name.partition(".")[0] for name in shown.stdout.split()}


def test_the_public_names_are_these() -> None:
    assert atdex.__all__ == [
        "load_dataset",
        "search",
        "lens_path",
        "default_node",
        "packable",
        "sample_class",
        "Dataset",
        "DatasetHit",
        "SearchResults",
        "LensPath",
        "AtdexError",
        "decode_array",
        "encode_array",
    ]
    assert set(atdex.__all__) <= set(dir(atdex))
    for name in atdex.__all__:
        assert getattr(atdex, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(atdex, "nothing")  # noqa: B009 - a type checker knows that it is not there


def test_importing_the_package_loads_none_of_its_dependencies() -> None:
    loaded = modules_after("import atdex")
    assert loaded.isdisjoint(
        {*HEAVY, "numpy", "httpx", "msgspec", "rich", "cyclopts", "libipld", "atdex_lexicons"}
    )


def test_all_of_the_package_loads_no_package_of_the_server() -> None:
    names = "; ".join(f"atdex.{name}" for name in atdex.__all__)
    assert modules_after(f"import atdex; {names}").isdisjoint(HEAVY)


def test_the_commands_of_a_user_load_no_package_of_the_server() -> None:
    code = "import atdex.cli.search, atdex.cli.head, atdex.cli.show, atdex.cli.lens"
    assert modules_after(code).isdisjoint(HEAVY)


def test_a_name_keeps_its_meaning_after_its_modules_were_imported() -> None:
    code = "import atdex.hits, atdex.load, atdex.schema, atdex\nassert callable(atdex.search)"
    assert "atdex" in modules_after(code)
