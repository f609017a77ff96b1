"""What the lens graph is told of the records, one at a time or many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SchemaFact:
    """A visible schema. `first_seen` is its own, in µs since the epoch."""

    uri: str
    name: str
    version: str
    first_seen: int


@dataclass(frozen=True, slots=True)
class LensFact:
    """A visible lens. `declarative`: its getter is a list of field operations.

    `usable` is False for a lens that is shown and part of no path. `waiting`: it is not usable
    because a schema that its own schemas refer to is not there, which is no fault of the lens.
    """

    uri: str
    source: str
    target: str
    first_seen: int
    source_version: str | None = None
    target_version: str | None = None
    declarative: bool = False
    usable: bool = True
    waiting: bool = False


Verifiers = Mapping[str, str]
"""The verifications of one lens at its present CID: URI of each, to the DID of who stands by it."""


@dataclass(frozen=True, slots=True)
class GraphChange:
    """What is to hold from now on; what is not named stays as it is.

    None where the record is not visible (any more). `verifiers` are all that a lens has; those of
    a lens that is not there are passed over, and a lens that leaves takes its own along.
    """

    schemas: Mapping[str, SchemaFact | None] = field(default_factory=dict)
    lenses: Mapping[str, LensFact | None] = field(default_factory=dict)
    verifiers: Mapping[str, Verifiers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LensColumns:
    """Many lenses, all different, by columns of one length.

    The URI of a lens is `prefixes[prefix_codes[n]] + rkeys[n]`; its ends are URIs, and the ranges
    None where the record names none. `waiting` None: none is.
    """

    prefixes: Sequence[str]
    prefix_codes: NDArray[np.int32]
    rkeys: pa.StringArray
    source: pa.StringArray
    target: pa.StringArray
    source_version: pa.StringArray
    target_version: pa.StringArray
    declarative: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    first_seen: NDArray[np.int64]
    waiting: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """`lenses` are all visible ones: `connected` can be part of a path, `dangling` wait for a
    schema, `unusable` are left out for a fault of theirs. `ranges` are the different version
    ranges.
    """

    schemas: int
    lenses: int
    connected: int
    dangling: int
    unusable: int
    verified: int
    ranges: int
