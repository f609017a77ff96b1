"""The filters of a search, from the parameters that searchDatasets and saved feeds share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atdex_appview.context import Context
from atdex_appview.lookup import canonical_uri, did_of
from atdex_appview.store.columns import datetime_micros
from atdex_xrpc.errors import InvalidRequest


def filters_of(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The filters by their names in `Filters`. Raises InvalidRequest for those nothing can fit."""
    publisher = params.get("publisher")
    least, most = params.get("minSamples"), params.get("maxSamples")
    if least is not None and most is not None and least > most:
        raise InvalidRequest("minSamples: it is more than maxSamples")
    since, until = _moment(params, "since"), _moment(params, "until")
    if since is not None and until is not None and since >= until:
        raise InvalidRequest("since: it is not before until")
    return {
        "tags": tuple(sorted(set(params.get("tags") or ()))),
        "schema": uri_of(context, params, "schema"),
        "publisher": publisher and did_of(context.store, publisher, parameter="publisher"),
        "license": params.get("license"),
        "min_samples": least,
        "max_samples": most,
        "since": since,
        "until": until,
    }


def uri_of(context: Context, params: Mapping[str, Any], name: str) -> str | None:
    text = params.get(name)
    return text and canonical_uri(context.store, text, parameter=name)


def _moment(params: Mapping[str, Any], name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    micros = datetime_micros(text)
    if micros is None:
        raise InvalidRequest(f"{name}: there is no such moment")
    return micros
