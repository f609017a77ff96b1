"""`atdex search`: find datasets through a node."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from atdex.cli.options import AsJson, NodeUrl
from atdex.cli.output import clean, console, print_json
from atdex.errors import NoNode
from atdex.hits import DatasetHit, Sort
from atdex.hits import search as search_datasets


def search(
    *query: str,
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    schema: str | None = None,
    viewable_as: str | None = None,
    publisher: str | None = None,
    licence: Annotated[str | None, Parameter(name="--license")] = None,
    min_samples: int | None = None,
    max_samples: int | None = None,
    since: str | None = None,
    until: str | None = None,
    sort: Sort = "relevance",
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
    viewable_as
        Only datasets whose samples can be viewed as the schema with this AT-URI, by which lenses.
    publisher
        Only datasets of this handle or DID.
    licence
        Only datasets under this licence.
    min_samples
        Only datasets that state at least so many samples.
    max_samples
        Only datasets that state at most so many samples.
    since
        Only datasets that the node first saw then or later: 2026-11-02T00:00:00Z.
    until
        Only datasets that the node first saw before that.
    sort
        Best matches, newest or most samples first.
    limit
        How many to print at most.
    """
    if node is None:
        raise NoNode
    results = search_datasets(
        " ".join(query),
        tags=tag or (),
        schema=schema,
        viewable_as=viewable_as,
        publisher=publisher,
        license=licence,
        min_samples=min_samples,
        max_samples=max_samples,
        since=since,
        until=until,
        sort=sort,
        limit=limit,
        node=node,
    )
    hits = list(results)
    if as_json:
        found = {"hitsTotal": results.total, "datasets": [dict(hit.view) for hit in hits]}
        print_json(found | ({"fuzzy": True} if results.fuzzy else {}))
    else:
        if results.fuzzy:
            console().print(Text("nothing matches these words; words near them do:", "italic"))
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
        for lens in hit.path or ():
            out.print(Text("    by " + lens, style="dim"), soft_wrap=True)
    shown = f"{len(hits)} of {total}" if total != len(hits) else str(total)
    out.print(Text(f"{shown} dataset{'' if total == 1 else 's'}", style="dim"))
