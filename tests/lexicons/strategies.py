"""Hypothesis strategies for values of the data model."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from atdex_lexicons import Cid

integers = st.integers(-(1 << 63), (1 << 63) - 1)
texts = st.text(max_size=40)
cids = st.binary(max_size=20).flatmap(lambda b: st.sampled_from([Cid.of_cbor(b), Cid.of_raw(b)]))
keys = texts.filter(lambda key: key not in ("$link", "$bytes", "$type"))
scalars = st.one_of(st.none(), st.booleans(), integers, texts, st.binary(max_size=40), cids)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=25,
)
objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(keys, values, max_size=6)
