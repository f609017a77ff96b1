"""Asking a node how samples of one schema become samples of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from atdex.node import Checked, Node
from atdex_xrpc.errors import NotFound

METHOD: Final = "getLensPath"
NO_PATH: Final = "NoLensPath"

Trust = Literal["any", "declarative", "verified"]


@dataclass(frozen=True, slots=True)
class LensPath:
    """Lenses in the order in which they apply, each checked against its CID and its lexicon.

    That they lead from one to the next is the node's word: whoever applies them finds out.
    """

    lenses: tuple[Checked, ...]

    @property
    def hops(self) -> int:
        return len(self.lenses)

    @property
    def uris(self) -> tuple[str, ...]:
        return tuple(lens.uri for lens in self.lenses)

    def __repr__(self) -> str:
        return f"<LensPath of {self.hops}: {' '.join(self.uris)}>"


def lens_path(
    source: str,
    target: str,
    *,
    max_hops: int = 4,
    limit: int = 1,
    trust: Trust = "any",
    verifiers: Sequence[str] = (),
    node: str | None = None,
) -> list[LensPath]:
    """The best ways from one schema to another, AT-URIs both; empty where there is none.

    Fewest lenses first, then verified and declarative ones. `trust` says which lenses may be part
    of a way, `verifiers` are DIDs whose verifications count. `node` is a URL, or else the default
    node. Raises NotFound where the node lacks one of the schemas, and what `Node` raises.
    """
    if isinstance(verifiers, str):
        raise TypeError("verifiers is a sequence of DIDs, not one text")
    params: dict[str, Any] = {"source": source, "target": target, "maxHops": max_hops}
    params |= {"limit": limit, "trust": trust, "verifiers": list(verifiers) or None}
    with Node(node) as asked:
        try:
            answer = asked.ask(METHOD, **params)
        except NotFound as error:
            if error.error == NO_PATH:
                return []
            raise
        return [
            LensPath(tuple(asked.check(view, "lens") for view in path["lenses"]))
            for path in answer["paths"][:limit]
        ]
