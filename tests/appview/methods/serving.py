"""What the tests of methods publish and ask."""

from __future__ import annotations

from typing import Any

from atdex_appview.store.base import Put
from tests.appview.index import (
    ALICE,
    Index,
    schema,
)

CLASSIC = "science.alt.dataset"
NOBODY = "did:plc:nobody000000000000000000"


def uris(views: list[Any]) -> list[str]:
    return [view["uri"] for view in views]


def publish_schema(index: Index, did: str = ALICE) -> Put:
    [put] = index.publish(did, schema())
    return put
