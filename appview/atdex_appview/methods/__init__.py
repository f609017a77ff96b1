"""The node's methods, one table. A method is served when it is named here, and not before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import Any

from atdex_appview.context import Context
from atdex_appview.errors import InvalidPosition, SearchError, StateError, StoreError
from atdex_appview.methods import (
    compare,
    datasets,
    entries,
    federated,
    feed_generator,
    feeds,
    generic,
    labels,
    lens_paths,
    lenses,
    node,
    records,
    resolve_schema,
    schemas,
    subscribe,
)
from atdex_lexicons.families.app_bsky_atdata import FAMILY
from atdex_lexicons.families.science_alt_dataset import FAMILY as ENTRIES
from atdex_xrpc import Request, Server
from atdex_xrpc.errors import InvalidRequest, NodeUnavailable
from atdex_xrpc.rate_limit import Cost

log = logging.getLogger(__name__)

Blocking = Callable[[Context, Request], Any]
Method = Callable[[Context, Request], Awaitable[Any]]


def in_thread(answer: Blocking) -> Method:
    """A method that reads the stores: it runs on a thread.

    One answer is several reads of milliseconds each, a hundred times what the hop to a thread
    costs; on the event loop they would stall other requests and the firehose.
    """

    async def method(context: Context, request: Request) -> Any:
        return await asyncio.to_thread(answer, context, request)

    return method


def at_once(answer: Blocking) -> Method:
    """A method that reads rows by their keys, or nothing but memory: it runs on the event loop.

    It takes a fraction of a millisecond, and beside other threads the hop to one, and the
    interpreter handed over at every row, cost several times as much.
    """

    async def method(context: Context, request: Request) -> Any:
        return answer(context, request)

    return method


async def list_datasets(context: Context, request: Request) -> Any:
    """A page of all datasets, or of one publisher's, lies together; a filter has to look for its
    own."""
    filtered = {"schema", "tag"} & request.params.keys()
    answer = in_thread if filtered else at_once
    return await answer(datasets.list_datasets)(context, request)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "searchDatasets": federated.search,
        "getDataset": at_once(datasets.get_dataset),
        "getDatasets": at_once(datasets.get_datasets),
        "listDatasets": list_datasets,
        "getSchema": at_once(schemas.get_schema),
        "listSchemas": in_thread(schemas.list_schemas),
        "resolveSchema": in_thread(resolve_schema.resolve_schema),
        "compareSchemas": in_thread(compare.compare),
        "getLens": in_thread(lenses.get_lens),
        "listLenses": in_thread(lenses.list_lenses),
        "getLensPath": in_thread(lens_paths.get_lens_path),
        "listReachableSchemas": in_thread(lens_paths.list_reachable_schemas),
        "resolveLabel": in_thread(labels.resolve_label),
        "listLabels": in_thread(labels.list_labels),
        "listFeeds": in_thread(feeds.list_feeds),
        "getFeedSkeleton": in_thread(feeds.get_feed_skeleton),
        "getFeed": in_thread(feeds.get_feed),
        "listRecords": in_thread(generic.list_records),
        "getRecord": in_thread(generic.get_record),
        "checkRecord": in_thread(records.check_record),
        "getRecordStatus": records.get_record_status,
        "describeNode": at_once(node.describe_node),
    }
)
"""Name within the namespace of this project's queries to what answers it."""

CLASSIC: Mapping[str, Method] = MappingProxyType(
    {
        "resolveLabel": in_thread(entries.resolve_label),
        "resolveSchema": in_thread(entries.resolve_schema),
        "resolveBlobs": in_thread(entries.resolve_blobs),
        "getEntry": in_thread(entries.get_entry),
        "getEntries": in_thread(entries.get_entries),
        "getSchema": in_thread(entries.get_schema),
        "listEntries": in_thread(entries.list_entries),
        "listSchemas": in_thread(entries.list_schemas),
        "listLenses": in_thread(entries.list_lenses),
        "searchDatasets": in_thread(entries.search_datasets),
        "searchLenses": in_thread(entries.list_lenses),
        "describeService": in_thread(entries.describe_service),
    }
)
"""The same of the family that is live on the network, as its own clients call them."""


FEED_GENERATOR: Mapping[str, Method] = MappingProxyType(
    {
        "app.bsky.feed.describeFeedGenerator": in_thread(feed_generator.describe_feed_generator),
        "app.bsky.feed.getFeedSkeleton": in_thread(feed_generator.get_feed_skeleton),
    }
)
"""What Bluesky asks a feed generator, by NSID."""


SEARCH_COST = 5
FEDERATED_COST = 25


def _search_cost(request: Request) -> int:
    return FEDERATED_COST if request.params.get("federate") else SEARCH_COST


COSTS: Mapping[str, Cost] = MappingProxyType(
    {
        "searchDatasets": _search_cost,
        "getLensPath": SEARCH_COST,
        "listReachableSchemas": SEARCH_COST,
        "getFeed": SEARCH_COST,
        "getFeedSkeleton": 3,
        "checkRecord": 3,
        "getDatasets": 2,
        "getEntries": 2,
        "compareSchemas": 2,
    }
)
"""Points of the methods that cost more than a look-up or a page. One that asks other nodes makes
work for all of them."""

REVALIDATED = frozenset(
    {
        "getDataset",
        "getDatasets",
        "getSchema",
        "resolveSchema",
        "compareSchemas",
        "getLens",
        "resolveLabel",
        "resolveBlobs",
        "getEntry",
        "getEntries",
    }
)
"""Queries about records that are named: who asks again has the same answer, as a rule."""

UNCHECKED: Mapping[str, tuple[str, ...]] = MappingProxyType({"checkRecord": ("record",)})
"""Members of inputs that may be anything, because what is wrong with them is the answer."""

SUBSCRIBE = f"{FAMILY.name}.subscribeRecords"


def register(server: Server, context: Context) -> Server:
    """Every method of the tables, on `server`, and the change stream where there is one."""
    for family, methods in ((FAMILY, METHODS), (ENTRIES, CLASSIC)):
        for name, method in methods.items():
            server.method(
                f"{family.name}.{name}",
                partial(_answer, method, context),
                cost=COSTS.get(name, 1),
                revalidate=name in REVALIDATED,
                unchecked=UNCHECKED.get(name, ()),
            )
    if context.stream is not None:
        server.subscription(SUBSCRIBE, partial(subscribe.subscribe_records, context))
    for nsid, method in FEED_GENERATOR.items():
        server.method(nsid, partial(_answer, method, context))
    return server


async def _answer(method: Method, context: Context, request: Request) -> Any:
    started = perf_counter()
    try:
        return await method(context, request)
    except InvalidPosition as wrong:
        raise InvalidRequest(f"cursor: {wrong}") from None
    except (StoreError, SearchError, StateError) as failure:
        log.error("%s failed: %s", request.nsid, failure)
        raise NodeUnavailable("the index does not answer.") from failure
    finally:
        context.slow.took(request, perf_counter() - started)
