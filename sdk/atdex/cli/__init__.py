"""The `atdex` command.

Each command lives in a module of its own that is imported when the command is called, so that
`atdex head` never loads a server package. Exit code: 0 on success, 1 when the work failed,
2 when the command line was wrong. An error of atdex is one line on stderr.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from cyclopts import App, CycloptsError, UnknownCommandError

COMMANDS: Final = {
    "search": ("atdex.cli.search:search", "Find datasets through a node."),
    "show": ("atdex.cli.show:show", "Show one record: a dataset, schema, lens or label."),
    "head": ("atdex.cli.head:head", "Print the first samples of a dataset, typed."),
    "lens": ("atdex.cli.lens:app", "Work with lenses."),
    "feed": ("atdex.cli.feed:app", "List the feeds of a node; declare one on Bluesky."),
    "node": ("atdex.cli.node:app", "Run an index node, or ask one how it is."),
    "firehose": ("atdex.cli.firehose:app", "Follow the network, one JSON object a line."),
    "lexicon": ("atdex.cli.lexicon:app", "Work with lexicon documents."),
}
"""Name to (import string, one line of help), in the order of the help page."""

OUR_PACKAGES: Final = frozenset(
    {"atdex", "atdex_lexicons", "atdex_xrpc", "atdex_firehose", "atdex_appview"}
)
"""An exception whose class is defined in one of these formats itself for a person to read."""

FAILED: Final = 1
MISUSED: Final = 2


def build_app() -> App:
    """The command line as an object: what `main` runs, and what tests call."""
    app = App(
        name="atdex",
        help="Find, load and index datasets on the AT Protocol.",
        version=lambda: version("atdex"),
        error_formatter=_one_line,
    )
    for order, (name, (target, summary)) in enumerate(COMMANDS.items()):
        app.command(target, name=name, help=summary, sort_key=order)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code. Programming errors are raised, with their traceback."""
    try:
        result = build_app()(
            list(arguments), exit_on_error=False, result_action="return_int_as_exit_code_else_zero"
        )
        sys.stdout.flush()
    except CycloptsError:
        return MISUSED  # cyclopts has printed it, through `_one_line`
    except BrokenPipeError:
        # The reader (`| head`) went away: nothing to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except ImportError as error:
        missing = _missing_package(error)
        if missing is None:
            raise
        print(
            f"atdex: this command needs the package {missing!r}: install atdex[node]",
            file=sys.stderr,
        )
        return FAILED
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in OUR_PACKAGES:
            raise
        print(f"atdex: {_flat(str(error))}", file=sys.stderr)
        return FAILED
    return int(result)


def _one_line(error: CycloptsError) -> str:
    if isinstance(error, UnknownCommandError):
        # The library's own message imports every command to look for near names.
        word = str(error.unused_tokens[0]) if error.unused_tokens else ""
        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(COMMANDS)}"
        return f"atdex: unknown command {word!r}; {hint}"
    return f"atdex: {_flat(str(error))}"


def _missing_package(error: BaseException | None) -> str | None:
    """The package outside of atdex whose absence made a command unimportable."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            top = error.name.partition(".")[0]
            return None if top in OUR_PACKAGES else top
        error = error.__cause__
    return None


def _flat(text: str) -> str:
    """Text on one line, with nothing in it that a terminal would obey."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in joined)
