"""`atdex search`: find datasets through a node."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from atdex.cli.options import AsJson, NodeUrl
from atdex.cli.output import clean, console, print_json
from atdex.errors import NoNode
from atdex.hits import DatasetHit
from atdex.hits import search as search_datasets


def search(
    *query: str,
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    schema: str | None = None,
    publisher: str | None = None,
    limit: int = 25,
    node: NodeUrl = None,
    as_json: AsJson = False,
) -> int:
    """Find datasets by words of their name, description and tags. Without words: the newest.

    Parameters
    ----------
    query
        Words; all of them must occur. A phrase goes in double quotes.
    tag
        Only datasets with this tag. Repeat for several: all must be there.
    schema
        Only datasets of the schema with this AT-URI.
    publisher
        Only datasets of this handle or DID.
    limit
        How many to print at most.
    """
    if node is None:
        raise NoNode
    results = search_datasets(
        " ".join(query), tags=tag or (), schema=schema, publisher=publisher, limit=limit, node=node
    )
    hits = list(results)
    if as_json:
        print_json({"hitsTotal": results.total, "datasets": [dict(hit.view) for hit in hits]})
    else:
        _print_hits(hits, results.total)
    for refused in results.refused:
        print(f"atdex: left out: {clean(refused, 400)}", file=sys.stderr)
    return 0


def _print_hits(hits: list[DatasetHit], total: int) -> None:
    out = console()
    for hit in hits:
        line = Text(clean(hit.name, 100), style="bold")
        for name, version in hit.labels[:3]:
            line.append(f"  {clean(name, 40)}{f'@{clean(version, 20)}' if version else ''}", "cyan")
        out.print(line)
        facts = [
            clean(hit.handle or hit.publisher, 80),
            f"{hit.shard_count} shard{'' if hit.shard_count == 1 else 's'}",
            "checksums" if hit.checksummed else "no checksums",
        ]
        if hit.schema:
            facts.insert(1, f"{clean(hit.schema.name, 60)} {clean(hit.schema.version, 20)}")
        if hit.tags:
            facts.append(" ".join(f"#{clean(tag, 30)}" for tag in hit.tags[:6]))
        out.print(Text("  " + " · ".join(facts), style="dim"))
        if hit.description:
            out.print(Text("  " + clean(hit.description, 160)))
        out.print(Text("  " + hit.uri, style="blue"), soft_wrap=True)
    shown = f"{len(hits)} of {total}" if total != len(hits) else str(total)
    out.print(Text(f"{shown} dataset{'' if total == 1 else 's'}", style="dim"))
