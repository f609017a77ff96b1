"""A dataset: a sequence of typed samples in shards."""

from __future__ import annotations

import itertools
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar, overload

from atdex.cache import INDEX_SUFFIX
from atdex.decode import SampleDecoder
from atdex.shard import Shard

if TYPE_CHECKING:
    from atdex_lexicons.model import Dataset as DatasetRecord
    from atdex_lexicons.model import Schema

S = TypeVar("S")

FETCH_THREADS: Final = 4
"""Shards fetched at once by `Dataset.fetch`: enough to fill a line, few enough for any server."""


@dataclass(frozen=True, slots=True)
class ShardSource:
    """Where one shard comes from.

    `path` gives the file, fetching it first where need be. `cached` files are the cache's own,
    so the index of their samples is kept beside them. `verified`: the file is only ever given
    when it has the digest that the record states.
    """

    name: str
    path: Callable[[], Path]
    verified: bool = False
    cached: bool = False

    def open(self) -> Shard:
        path = self.path()
        return Shard(path, self.name, path.with_suffix(INDEX_SUFFIX) if self.cached else None)


class Dataset(Generic[S]):
    """Samples of `sample_type`, in the order of the shards and of the samples in each.

    Shards are fetched when a sample of theirs is first asked for: the first samples come as soon
    as the first shard is here, `len()` and negative indices need all of them, and `fetch()` gets
    all of them at once. Arrays are read-only views of the shards; copy one to change it.

    Safe to share between threads.
    """

    def __init__(
        self,
        sources: Sequence[ShardSource],
        sample_type: type[S],
        *,
        name: str = "",
        uri: str | None = None,
        schema: Schema | None = None,
        record: DatasetRecord | None = None,
    ) -> None:
        self.name = name
        self.uri = uri
        """The dataset record, None for local files."""
        self.schema = schema
        """What the samples are, as the schema record says; None for local files."""
        self.record = record
        """The dataset record as one model for every family; None for local files."""
        self.sample_type = sample_type
        self._sources = list(sources)
        self._decoder = SampleDecoder(sample_type)
        self._shards: list[Shard | None] = [None] * len(self._sources)
        self._locks = [threading.Lock() for _ in self._sources]
        self._ends: list[int] = []  # samples up to and including each shard that is open in a row

    @property
    def verified(self) -> bool:
        """Whether every shard is compared with a checksum of the record before it is read."""
        return bool(self._sources) and all(source.verified for source in self._sources)

    @property
    def shards(self) -> list[str]:
        """The names of the shards: their addresses, or their paths."""
        return [source.name for source in self._sources]

    def fetch(self) -> None:
        """Get every shard onto this machine, several at once. Raises what the first failure was."""
        with ThreadPoolExecutor(FETCH_THREADS, "atdex-fetch") as pool:
            futures = [pool.submit(self._shard, i) for i in range(len(self._sources))]
            try:
                for future in futures:
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return self._end_of(len(self._sources) - 1) if self._sources else 0

    def __iter__(self) -> Iterator[S]:
        decode = self._decoder.decode
        for i in range(len(self._sources)):
            shard = self._shard(i)
            view, name = shard.view, shard.name
            for key, offset, size in zip(*shard.index, strict=True):
                yield decode(view[offset : offset + size], name, key)

    @overload
    def __getitem__(self, index: int) -> S: ...
    @overload
    def __getitem__(self, index: slice) -> list[S]: ...
    def __getitem__(self, index: int | slice) -> S | list[S]:
        """One sample, from the end where `index` is negative; a list of them for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        wanted = index if index >= 0 else index + len(self)
        if wanted >= 0:
            i = bisect_right(self._ends, wanted)
            while i < len(self._sources) and self._end_of(i) <= wanted:
                i += 1
            if i < len(self._sources):
                shard = self._shard(i)
                at = wanted - (self._ends[i - 1] if i else 0)
                return self._decoder.decode(shard.raw(at), shard.name, shard.index.keys[at])
        raise IndexError(f"sample {index} of a dataset of {len(self)}")

    def take(self, n: int) -> list[S]:
        """The first `n` samples, or all where there are fewer. Fetches no shard but theirs."""
        if n < 0:
            raise ValueError(f"cannot take {n} samples")
        return list(itertools.islice(self, n))

    def __repr__(self) -> str:
        what = self.name or self.uri or "local files"
        trust = "verified" if self.verified else "not verified"
        return (
            f"<Dataset {what!r}: {self.sample_type.__name__} in {len(self._sources)} "
            f"shard{'' if len(self._sources) == 1 else 's'}, {trust}>"
        )

    def _shard(self, i: int) -> Shard:
        shard = self._shards[i]
        if shard is None:
            with self._locks[i]:
                shard = self._shards[i]
                if shard is None:
                    shard = self._shards[i] = self._sources[i].open()
        return shard

    def _end_of(self, i: int) -> int:
        """Samples in the shards up to and including `i`."""
        ends = self._ends
        if len(ends) <= i:
            ends = list(ends)
            for k in range(len(ends), i + 1):
                ends.append((ends[-1] if ends else 0) + len(self._shard(k)))
            self._ends = ends  # replaced whole: a reader in another thread sees one or the other
        return ends[i]
