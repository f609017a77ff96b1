"""What a searcher typed, as words: no text is an error.

| typed | means |
| --- | --- |
| `retina oct` | both words, anywhere in name, description or tags |
| `"optical coherence"` | these words beside each other, in one field |
| `reti*` | a word that starts so |
| else (`-`, `:`, `AND`, a single `"`) | text like any other; nothing, where it has no letters |

Words match by their English stem, whatever their case and accents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import tantivy

MAX_QUERY_CHARS = 4096
"""Characters of a query that are read: more than anyone types, little enough to read at once."""

MAX_TERMS = 16
"""Words and phrases of one query; each costs a walk through its postings. The first ones count."""

MAX_WORD_BYTES = 64
"""Bytes of an indexed word. Longer ones (encoded data, for the most part) are not indexed."""

ANALYZER = "atdex_words"
EXACT_ANALYZER = "atdex_exact"


def analyzer() -> tantivy.TextAnalyzer:
    """How text becomes words, the same when indexing and when searching."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(MAX_WORD_BYTES))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def exact_analyzer() -> tantivy.TextAnalyzer:
    """Words as they are written, but for case and accents: what a prefix is looked up in."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(MAX_WORD_BYTES))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .build()
    )


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a query: a word, the words of a phrase, or the start of a word."""

    kind: Literal["word", "phrase", "prefix"]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """The terms that must all match, and `key`, the whole query as a name would be indexed."""

    terms: tuple[Term, ...]
    key: str


_PART = re.compile(r'"([^"]*)"|([^\s"]+)')


class QueryParser:
    """Thread-safe; holds the analyzers."""

    def __init__(self) -> None:
        self._words = analyzer()
        self._exact = exact_analyzer()

    def parse(self, text: str) -> ParsedQuery:
        """Never raises. A text without words has no terms."""
        text = clean(text[:MAX_QUERY_CHARS])
        terms: dict[Term, None] = {}
        for phrase, word in _PART.findall(text):
            for term in self._phrase(phrase) if phrase else self._word(word):
                if len(terms) < MAX_TERMS:
                    terms[term] = None
        return ParsedQuery(tuple(terms), self.name_key(text))

    def name_key(self, name: str) -> str:
        """A name as one term: two names with the same words in the same order are equal."""
        return " ".join(self._exact.analyze(clean(name)))

    def _phrase(self, text: str) -> list[Term]:
        words = tuple(self._words.analyze(text))
        if len(words) > 1:
            return [Term("phrase", words)]
        return [Term("word", words)] if words else []

    def _word(self, text: str) -> list[Term]:
        if text.endswith("*") and (parts := self._exact.analyze(text)):
            *whole, start = parts
            stems = [stem for part in whole for stem in self._words.analyze(part)]
            return [*(Term("word", (stem,)) for stem in stems), Term("prefix", (start,))]
        words = tuple(self._words.analyze(text))
        # "CIFAR-10" is two words to the index: beside each other they mean what was typed.
        return self._phrase(text) if len(words) > 1 else [Term("word", words)] if words else []


def clean(text: str) -> str:
    """Text as UTF-8 can carry it: unpaired surrogates become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
