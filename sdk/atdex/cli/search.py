"""`atdex search`: find datasets through a node."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from atdex.cli.options import AsJson
from atdex.cli.output import clean, console, print_json
from atdex.errors import NoNode
from atdex.hits import DatasetHit, SearchResults, Sort
from atdex.hits import search as search_datasets
from atdex.node import PAGE


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
    node: Annotated[list[str] | None, Parameter(negative="", env_var="ATDEX_NODE")] = None,
    federate: Annotated[bool, Parameter(negative="")] = False,
    node_timeout: float | None = None,
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
    node
        The node to ask, a URL. Repeat for several: they are asked at once, their hits merged.
    federate
        Let the node ask its peers as well.
    node_timeout
        Seconds for each node: 0.8 where there are several, 30 where there is one.
    """
    if not node:
        raise NoNode
    if limit > PAGE and (federate or len(node) > 1):
        print(f"atdex: several nodes answer one page: --limit is at most {PAGE}", file=sys.stderr)
        return 2
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
        federate=federate,
        node_timeout=node_timeout,
    )
    hits = list(results)
    if as_json:
        views = [dict(hit.view) for hit in hits]
        if len(node) > 1:
            views = [{**hit.view, "sources": list(hit.sources)} for hit in hits]
        found: dict[str, Any] = {"hitsTotal": results.total, "datasets": views}
        found |= {"fuzzy": True} if results.fuzzy else {}
        print_json(found | (_nodes_json(results) if federate or len(node) > 1 else {}))
    else:
        if results.fuzzy:
            console().print(Text("nothing matches these words; words near them do:", "italic"))
        _print_hits(hits, results.total, several=len(results.nodes) > 1)
    for each in results.nodes:
        if each.status != "ok":
            why = clean(each.message or each.status, 300)
            print(f"atdex: {clean(each.url, 200)} is missing: {why}", file=sys.stderr)
    for refused in results.refused:
        print(f"atdex: left out: {clean(refused, 400)}", file=sys.stderr)
    return 0


def _nodes_json(results: SearchResults) -> dict[str, Any]:
    nodes = [
        {"url": each.url, "status": each.status}
        | ({} if each.total is None else {"hitsTotal": each.total})
        | ({"message": each.message} if each.message else {})
        for each in results.nodes
    ]
    return {"nodes": nodes, "partial": results.partial}


def _print_hits(hits: list[DatasetHit], total: int, *, several: bool) -> None:
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
        if several:
            out.print(Text("    found by " + clean(", ".join(hit.sources), 400), style="dim"))
        for lens in hit.path or ():
            out.print(Text("    by " + lens, style="dim"), soft_wrap=True)
    shown = f"{len(hits)} of {total}" if total != len(hits) else str(total)
    out.print(Text(f"{shown} dataset{'' if total == 1 else 's'}", style="dim"))
