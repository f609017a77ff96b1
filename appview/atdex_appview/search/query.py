"""What a searcher typed, as words: no text is an error unless it is too long.

| typed | means |
| --- | --- |
| `retina oct` | both words, anywhere in name, description or tags |
| `"optical coherence"` | these words beside each other, in one field |
| `reti*` | a word that starts so; a single letter and `*` is that letter |
| else (`-`, `:`, `AND`, a single `"`) | text like any other; nothing, where it has no letters |

Words match by their English stem, whatever their case and accents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

import tantivy

from atdex_appview.errors import QueryTooLong

MAX_QUERY_CHARS = 4096
"""Characters of a query: more than anyone types, little enough to read at once."""

MAX_TERMS = 16
"""Different words and phrases of one query; each costs a walk through its postings."""

MAX_PHRASE_WORDS = 32
"""Words of one phrase, which cost a walk each as well: a long title."""

MAX_PREFIXES = 4
"""Starts of words in one query: each stands for up to thousands of words, which are all walked."""

PREFIX_LETTERS = 2
"""Letters of the start of a word: a single one stands for a tenth of all words there are."""

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
    """One condition of a query: a word, the words of a phrase, or the start of a word.

    `words` are stems, as they are indexed; `typed` are the same words as they were written.
    """

    kind: Literal["word", "phrase", "prefix"]
    words: tuple[str, ...]
    typed: tuple[str, ...] = field(compare=False)


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
        """A text without words has no terms. Raises QueryTooLong."""
        if len(text) > MAX_QUERY_CHARS:
            raise QueryTooLong("characters", len(text), MAX_QUERY_CHARS)
        text = clean(text)
        terms: dict[Term, None] = {}
        for phrase, word in _PART.findall(text):
            terms.update(dict.fromkeys(self._phrase(phrase) if phrase else self._word(word)))
        if len(terms) > MAX_TERMS:
            raise QueryTooLong("different words and phrases", len(terms), MAX_TERMS)
        prefixes = sum(term.kind == "prefix" for term in terms)
        if prefixes > MAX_PREFIXES:
            raise QueryTooLong("starts of words", prefixes, MAX_PREFIXES)
        longest = max((len(term.words) for term in terms), default=0)
        if longest > MAX_PHRASE_WORDS:
            raise QueryTooLong("words in one phrase", longest, MAX_PHRASE_WORDS)
        return ParsedQuery(tuple(terms), self.name_key(text))

    def name_key(self, name: str) -> str:
        """A name as one term: two names with the same words in the same order are equal."""
        return " ".join(self._exact.analyze(clean(name)))

    def stems(self, text: str) -> list[str]:
        """The words of a text as they are indexed."""
        return self._words.analyze(clean(text))

    def words(self, text: str) -> list[str]:
        """The words of a text as they are written, but for case and accents."""
        return self._exact.analyze(clean(text))

    def _phrase(self, text: str) -> list[Term]:
        words, typed = tuple(self._words.analyze(text)), tuple(self._exact.analyze(text))
        if len(words) > 1:
            return [Term("phrase", words, typed)]
        return [Term("word", words, typed)] if words else []

    def _word(self, text: str) -> list[Term]:
        parts = self._exact.analyze(text) if text.endswith("*") else []
        if parts and len(parts[-1]) >= PREFIX_LETTERS:
            *whole, start = parts
            made = [
                Term("word", (stem,), (part,))
                for part in whole
                for stem in self._words.analyze(part)
            ]
            return [*made, Term("prefix", (start,), (start,))]
        # "CIFAR-10" is two words to the index: beside each other they mean what was typed.
        return self._phrase(text)


def clean(text: str) -> str:
    """Text as UTF-8 can carry it: unpaired surrogates become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
