"""What the sources that may be compiled must keep to."""

from __future__ import annotations

import ast

import pytest

from deploy.compile import MODULES, PACKAGE


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_awaited_while_an_exception_is_handled(module: str) -> None:
    """Compiled, the exception being handled would become that of whatever task runs meanwhile:
    a wrong error, or a crash of the interpreter."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    handled: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            handled += [*node.handlers, *node.finalbody]
    waits = (ast.Await, ast.AsyncWith, ast.AsyncFor, ast.Yield, ast.YieldFrom)
    lines = [n.lineno for part in handled for n in ast.walk(part) if isinstance(n, waits)]
    assert lines == []
