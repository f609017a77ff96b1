"""`atdex head`: the first samples of a dataset, typed."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from atdex.cli.options import AsJson, CacheDir, NodeUrl, PrivateHosts
from atdex.cli.output import (
    clean,
    console,
    describe,
    downloads,
    guess_arrays,
    jsonable,
    print_json,
    rows,
    sample_fields,
)
from atdex.errors import NoNode
from atdex.load import load_dataset
from atdex.resolve import ByName, ByUri, parse_source


def head(
    source: str,
    /,
    *,
    count: Annotated[int, Parameter(name=["--count", "-n"])] = 5,
    split: str | None = None,
    node: NodeUrl = None,
    allow_private_hosts: PrivateHosts = False,
    cache_dir: CacheDir = None,
    as_json: AsJson = False,
) -> int:
    """Print the first samples of a dataset. Only the shards that they are in are fetched.

    With --json each sample is one line.

    Parameters
    ----------
    source
        An AT-URI, @publisher/name, or a path, pattern or URL of shards.
    count
        How many samples.
    split
        The first samples of this split.
    """
    from_network = isinstance(parse_source(source), (ByUri, ByName))
    if from_network and node is None:
        raise NoNode
    with downloads() as progress:
        dataset = load_dataset(
            source,
            None if from_network else dict,
            node=node if from_network else None,
            split=split,
            cache_dir=cache_dir,
            allow_private_hosts=allow_private_hosts,
            progress=progress,
        )
        samples = [sample_fields(sample) for sample in dataset.take(max(count, 0))]
    if not from_network:
        samples = [guess_arrays(sample) for sample in samples]
    if as_json:
        for sample in samples:
            print_json(jsonable(sample), indent=False)
    else:
        _print_samples(samples, clean(dataset.name, 100))
    if from_network and not dataset.verified:
        print("atdex: the record states no checksums: not verified", file=sys.stderr)
    return 0


def _print_samples(samples: list[dict[str, Any]], name: str) -> None:
    out = console()
    out.print(Text(name, style="bold"))
    for i, sample in enumerate(samples):
        out.print(Text(f"sample {i}", style="dim"))
        table = rows([(clean(field, 60), Text(describe(sample[field]))) for field in sample])
        out.print(table)
