"""`atdex lens`: work with lenses."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from atdex.cli.options import AsJson, NodeUrl
from atdex.cli.output import clean, console, print_json
from atdex.errors import NoNode
from atdex.node import Checked
from atdex.paths import Trust, lens_path

app = App(name="lens", help="Work with lenses.")


@app.command
def path(
    source: str,
    target: str,
    /,
    *,
    max_hops: int = 4,
    limit: int = 1,
    trust: Trust = "any",
    verifier: Annotated[list[str] | None, Parameter(negative="")] = None,
    node: NodeUrl = None,
    as_json: AsJson = False,
) -> int:
    """Find the best ways from one schema to another. Exit code 1 where there is none.

    Parameters
    ----------
    source
        AT-URI of the schema to start from.
    target
        AT-URI of the schema to arrive at.
    max_hops
        How many lenses a way may have.
    limit
        How many ways to print at most.
    trust
        Which lenses may be part of a way.
    verifier
        DID whose verifications count. Repeat for several; none given: anyone's.
    """
    if node is None:
        raise NoNode
    found = lens_path(
        source,
        target,
        max_hops=max_hops,
        limit=limit,
        trust=trust,
        verifiers=verifier or (),
        node=node,
    )
    if as_json:
        paths = [
            {"hops": each.hops, "lenses": [dict(lens.view) for lens in each.lenses]}
            for each in found
        ]
        print_json({"paths": paths})
    elif not found:
        print(f"atdex: no way of at most {max_hops} lenses leads there", file=sys.stderr)
    for each in () if as_json else found:
        out = console()
        out.print(Text(f"{each.hops} lens{'' if each.hops == 1 else 'es'}", style="bold"))
        for lens in each.lenses:
            out.print(_line(lens))
            out.print(Text("    " + lens.uri, style="blue"), soft_wrap=True)
    return 0 if found else 1


def _line(lens: Checked) -> Text:
    facts = [clean(lens.model.name, 100), clean(lens.view["code"], 20)]
    verified = len(lens.view["verifications"])
    if verified:
        facts.append(f"verified by {verified}")
    return Text("  " + " · ".join(facts))
