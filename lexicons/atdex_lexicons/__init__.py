"""The data model, lexicons and record families of the AT Protocol dataset network.

from atdex_lexicons import Catalog, InvalidRecord

catalog = Catalog.bundled()
try:
    catalog.validate_record(record, collection="science.alt.dataset.entry")
except InvalidRecord as error:
    for problem in error.problems:
        print(problem.path, problem.reason)
"""

from .aturi import AtUri
from .catalog import Catalog
from .cid import Cid
from .document import check_document
from .errors import (
    Invalid,
    InvalidData,
    InvalidDocument,
    InvalidInput,
    InvalidMessage,
    InvalidOutput,
    InvalidParams,
    InvalidRecord,
    InvalidSyntax,
    LexiconsError,
    Problem,
    UnknownLexicon,
)

__all__ = [
    "AtUri",
    "Catalog",
    "Cid",
    "Invalid",
    "InvalidData",
    "InvalidDocument",
    "InvalidInput",
    "InvalidMessage",
    "InvalidOutput",
    "InvalidParams",
    "InvalidRecord",
    "InvalidSyntax",
    "LexiconsError",
    "Problem",
    "UnknownLexicon",
    "check_document",
]
