"""The schemas that can be viewed as another: what `viewableAs` filters a search by.

Where the caller says no number of lenses, whole rings of schemas are taken, nearest first: those
one lens away, two, and so on up to `DEFAULT_HOPS`, as long as there are no more than `FEW_SCHEMAS`
of them. Within four lenses a well connected schema is reached from nearly all there are, which
says little of any and takes a tenth of a second to search. The answer names the number of lenses
that it went to, and within those nothing is left out.

Example: 30 schemas lead to S by one lens, 400 by two, 8,000 by three: `max_hops` is 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from atdex_appview.graph.reach import Reach, Reaches
from atdex_appview.search.filters import SchemaSet

DEFAULT_HOPS = 4
"""Lenses, as for getLensPath."""

FEW_SCHEMAS = 1_000
"""Schemas that a search finds the datasets of within its ordinary time: some µs for each."""


@dataclass(frozen=True, slots=True)
class Viewable:
    """`schemas` includes the wanted schema itself. All within `max_hops` lenses are among them."""

    target: str
    max_hops: int
    schemas: SchemaSet
    reach: Reach | None

    def path(self, schema: str) -> tuple[str, ...] | None:
        """The best lenses from that schema, in order; None where they have left since."""
        if schema == self.target:
            return ()
        if self.reach is None:
            return None
        try:
            return self.reach[schema].path
        except KeyError:
            return None


def viewable_as(reaches: Reaches, target: str, max_hops: int | None) -> Viewable:
    """What can be viewed as `target`; itself alone, where this node does not have it."""
    try:
        if max_hops is not None:
            reach = reaches.reaching(target, max_hops)
        else:
            max_hops, reach = 1, reaches.reaching(target, 1)
            while max_hops < DEFAULT_HOPS and len(reach) <= FEW_SCHEMAS:
                wider = reaches.reaching(target, max_hops + 1)
                if len(wider) > FEW_SCHEMAS:
                    break
                max_hops, reach = max_hops + 1, wider
    except LookupError:
        max_hops = max_hops or DEFAULT_HOPS
        return Viewable(target, max_hops, SchemaSet((target, 0), (target,)), None)
    key = (target, max_hops, reach.version)
    return Viewable(target, max_hops, SchemaSet(key, (target, *reach.uris())), reach)
