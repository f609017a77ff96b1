"""Writes `docs/reference/` from the docstrings and the lexicon documents.

python docs/generate.py            writes the pages
python docs/generate.py --check    exits 1 where a page is not what would be written
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
REFERENCE = REPOSITORY / "docs" / "reference"
DOCUMENTS = REPOSITORY / "lexicons" / "atdex_lexicons" / "documents"

PYTHON_PAGES = {
    "atdex": ["atdex"],
    "atdex_lexicons": [
        "atdex_lexicons",
        "atdex_lexicons.model",
        "atdex_lexicons.families",
        "atdex_lexicons.compare",
        "atdex_lexicons.fieldops",
        "atdex_lexicons.fieldops_read",
        "atdex_lexicons.fieldops_check",
        "atdex_lexicons.fieldops_compose",
        "atdex_lexicons.datamodel",
        "atdex_lexicons.syntax",
        "atdex_lexicons.errors",
    ],
    "atdex_xrpc": ["atdex_xrpc", "atdex_xrpc.errors", "atdex_xrpc.addresses"],
    "atdex_firehose": ["atdex_firehose", "atdex_firehose.events", "atdex_firehose.errors"],
}
NOTE = "<!-- Written by docs/generate.py: change the docstrings or the documents instead. -->\n"


def main(arguments: list[str]) -> int:
    pages = {f"{name}.md": python_page(name, modules) for name, modules in PYTHON_PAGES.items()}
    documents = [json.loads(path.read_text()) for path in sorted(DOCUMENTS.rglob("*.json"))]
    pages["commands.md"] = commands_page()
    pages["xrpc.md"] = methods_page(documents)
    pages["records.md"] = records_page(documents)
    if "--check" in arguments:
        stale = [
            name
            for name, text in pages.items()
            if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != text
        ]
        if stale:
            print(f"docs/reference is behind: {', '.join(stale)}. Run `make docs`.")
            return 1
        return 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (REFERENCE / name).write_text(text)
    print(f"wrote {len(pages)} pages to {REFERENCE.relative_to(REPOSITORY)}")
    return 0


# --- from docstrings -------------------------------------------------------------------------


def python_page(title: str, modules: list[str]) -> str:
    """One page for a package: the public names of each of its listed modules."""
    parts = [NOTE, f"# `{title}`\n"]
    seen: set[int] = set()
    for module_name in modules:
        module = importlib.import_module(module_name)
        parts.append(f"## `{module_name}`\n\n{_doc(module)}\n")
        for name, value in _public(module):
            if id(value) in seen or inspect.ismodule(value):
                continue
            seen.add(id(value))
            parts.extend(_entry(name, value, level=3))
    return "\n".join(parts)


def _public(module: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        ]
    for name in names:
        if not name.startswith("__"):
            yield name, getattr(module, name)


def _entry(name: str, value: Any, level: int) -> Iterator[str]:
    heading = "#" * level
    if inspect.isclass(value):
        yield f"{heading} class `{name}`\n"
        if _own_init(value):
            yield f"```python\n{name}{_signature(value)}\n```\n"
        yield f"{_doc(value)}\n"
        for member_name, member in vars(value).items():
            if member_name.startswith("_"):
                continue
            function = getattr(member, "__func__", member)
            if isinstance(function, property):
                yield f"{heading}# property `{name}.{member_name}`\n\n{_doc(function)}\n"
            elif inspect.isfunction(function) and function.__doc__:
                prefix = "async " if inspect.iscoroutinefunction(function) else ""
                yield f"{heading}# `{prefix}{name}.{member_name}`\n"
                yield f"```python\n{member_name}{_signature(function)}\n```\n\n{_doc(function)}\n"
    elif inspect.isfunction(value):
        yield f"{heading} `{name}`\n\n```python\n{name}{_signature(value)}\n```\n\n{_doc(value)}\n"
    elif not callable(value):
        yield f"{heading} `{name}`\n"


def _own_init(value: type) -> bool:
    return "__init__" in vars(value) or hasattr(value, "__dataclass_fields__")


def _signature(value: Any) -> str:
    try:
        text = str(inspect.signature(value))
    except (ValueError, TypeError):
        return "(…)"
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return re.sub(r"(?<=[\[ (|])'([^']*)'", r"\1", text)


def _doc(value: Any) -> str:
    if isinstance(value, type) and "__doc__" in vars(value):
        text = vars(value)["__doc__"] or ""
        if text.startswith(f"{value.__name__}("):  # what `dataclass` writes where there is none
            return ""
        return inspect.cleandoc(text)
    return inspect.cleandoc(getattr(value, "__doc__", None) or "")


# --- from the command line --------------------------------------------------------------------


def commands_page() -> str:
    """The help of every command, as `atdex COMMAND --help` prints it."""
    from atdex.cli import build_app

    text = build_app().generate_docs(output_format="markdown", recursive=True, heading_level=1)
    headings = re.sub(r"^(#+) (atdex[^\n]*)$", r"\1 `\2`", text, flags=re.MULTILINE)
    return f"{NOTE}\n{headings.strip()}\n"


# --- from lexicon documents ------------------------------------------------------------------

METHOD_TYPES = {"query": "GET", "procedure": "POST", "subscription": "WebSocket"}


def methods_page(documents: list[dict[str, Any]]) -> str:
    parts = [
        NOTE,
        "# XRPC methods\n",
        "Every method is served under `/xrpc/<name>`. Errors are `{error, message}`.\n",
    ]
    for document in documents:
        main_def = document["defs"].get("main", {})
        if main_def.get("type") not in METHOD_TYPES:
            continue
        parts.append(f"## `{document['id']}`\n")
        parts.append(f"{METHOD_TYPES[main_def['type']]}. {main_def.get('description', '')}\n")
        parameters = main_def.get("parameters", {})
        if parameters.get("properties"):
            parts.append(_table("Parameters", parameters))
        for side in ("input", "output"):
            body = main_def.get(side, {}).get("schema", {})
            if body.get("properties"):
                parts.append(_table(side.capitalize(), body))
            elif body:
                parts.append(f"**{side.capitalize()}**: {_type(body)}\n")
        errors = main_def.get("errors", [])
        if errors:
            rows = [f"- `{error['name']}`: {error.get('description', '')}" for error in errors]
            parts.append("**Errors**\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def records_page(documents: list[dict[str, Any]]) -> str:
    parts = [NOTE, "# Records and shared definitions\n"]
    for document in documents:
        definitions = document["defs"]
        if definitions.get("main", {}).get("type") in METHOD_TYPES:
            continue
        parts.append(f"## `{document['id']}`\n")
        for name, definition in definitions.items():
            if definition["type"] == "record":
                parts.append(f"{definition.get('description', '')}\n")
                parts.append(f"Record key: `{definition['key']}`.\n")
                parts.append(_table("Fields", definition["record"]))
            elif definition["type"] == "object":
                parts.append(f"### `#{name}`\n\n{definition.get('description', '')}\n")
                parts.append(_table("Fields", definition))
            else:
                text = definition.get("description", "")
                parts.append(f"### `#{name}`\n\n{_type(definition)}. {text}\n")
    return "\n".join(parts)


def _table(title: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [f"**{title}**\n", "| name | type | | |", "| --- | --- | --- | --- |"]
    for name, definition in schema.get("properties", {}).items():
        need = "required" if name in required else ""
        text = definition.get("description", "").replace("|", "\\|")
        rows.append(f"| `{name}` | {_type(definition)} | {need} | {text} |")
    return "\n".join(rows) + "\n"


LIMITS = ("format", "default", "const", "minimum", "maximum", "minLength", "maxLength", "maxSize")


def _type(definition: dict[str, Any]) -> str:
    kind = definition["type"]
    if kind == "ref":
        return f"`{definition['ref']}`"
    if kind == "union":
        return " or ".join(f"`{ref}`" for ref in definition["refs"]) or "open union"
    text = f"array of {_type(definition['items'])}" if kind == "array" else kind
    limits = [f"{name} {definition[name]}" for name in LIMITS if name in definition]
    for name in ("enum", "knownValues", "accept"):
        if name in definition:
            limits.append(f"{name} {', '.join(map(str, definition[name]))}")
    return text + (f" ({'; '.join(limits)})" if limits else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
