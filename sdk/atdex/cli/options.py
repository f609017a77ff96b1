"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

NodeUrl = Annotated[
    str | None, Parameter(name="--node", env_var="ATDEX_NODE", help="The node to ask, a URL.")
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
PrivateHosts = Annotated[
    bool,
    Parameter(
        name="--allow-private-hosts",
        negative="",
        help="Fetch shards also from hosts in private networks and from this machine.",
    ),
]
CacheDir = Annotated[
    Path | None, Parameter(name="--cache-dir", help="Where shards are kept between runs.")
]
