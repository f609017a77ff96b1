"""Find datasets on the AT Protocol and load them as typed samples.

    import atdex

    atdex.default_node("https://node.example")
    for hit in atdex.search("handwritten digits"):
        print(hit.name, hit.uri)
    digits = atdex.load_dataset("@alice.example/digits")
    digits[0].image

Importing this package loads nothing heavy: each name brings its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atdex.arrays import decode_array, encode_array
    from atdex.dataset import Dataset
    from atdex.errors import AtdexError
    from atdex.hits import DatasetHit, SearchResults, search
    from atdex.load import load_dataset
    from atdex.node import default_node
    from atdex.paths import LensPath, lens_path
    from atdex.sample import packable
    from atdex.schema import sample_class

__all__ = [
    "load_dataset",
    "search",
    "lens_path",
    "default_node",
    "packable",
    "sample_class",
    "Dataset",
    "DatasetHit",
    "SearchResults",
    "LensPath",
    "AtdexError",
    "decode_array",
    "encode_array",
]

_MODULES = {
    "load_dataset": "load",
    "search": "hits",
    "lens_path": "paths",
    "default_node": "node",
    "packable": "sample",
    "sample_class": "schema",
    "Dataset": "dataset",
    "DatasetHit": "hits",
    "SearchResults": "hits",
    "LensPath": "paths",
    "AtdexError": "errors",
    "decode_array": "arrays",
    "encode_array": "arrays",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"atdex.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
