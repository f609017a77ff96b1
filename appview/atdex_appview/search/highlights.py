"""Where a hit has the words of the query: excerpts as HTML, everything but the marks escaped.

Where typos were forgiven, what is marked are the words of the hit that are nearly those typed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tantivy
from tantivy import Query

from atdex_appview.search.query import QueryParser
from atdex_appview.search.ranks import RankedQuery, any_of, typos

SNIPPETS = {"name": ("name", 200), "description": ("text", 180)}
"""Of each stored text: the field that has its words, and the characters of a highlight: a line
of a list of hits."""

PREFIX_HIGHLIGHTS = 50
"""Words that a prefix stands for in highlights; matching itself has no such bound."""

NEAR_CHARS = 2_000
"""Characters of a text in which words that are nearly those typed are looked for: each is held
against each word of the query."""


def highlights(
    searcher: Any, ranked: RankedQuery, parser: QueryParser, documents: Sequence[Any]
) -> Iterator[dict[str, str]]:
    """Of each document, the texts in which something is marked."""
    if not ranked.terms:
        yield from ({} for _ in documents)
        return
    texts = [{name: _stored(document, name) for name in SNIPPETS} for document in documents]
    near = _near_words(ranked, parser, texts) if ranked.fuzzy else None
    generators = {}
    for name, (field, chars) in SNIPPETS.items():
        words = _words(searcher, ranked, field) if near is None else near
        query = any_of([Query.term_query(ranked.fields, field, word) for word in sorted(words)])
        generator = tantivy.SnippetGenerator.create(searcher, query, ranked.fields, field)
        generator.set_max_num_chars(chars)
        generators[name] = generator
    for each in texts:
        marked = {}
        for name, generator in generators.items():
            excerpt = tantivy.Document()
            excerpt.add_text(SNIPPETS[name][0], each[name])
            snippet = generator.snippet_from_doc(excerpt)
            if snippet.highlighted():
                marked[name] = snippet.to_html()
        yield marked


def _words(searcher: Any, ranked: RankedQuery, field: str) -> set[str]:
    """The stems that the query stands for in a field."""
    words = {word for term in ranked.terms if term.kind != "prefix" for word in term.words}
    for term in ranked.terms:
        if term.kind == "prefix":
            found = searcher.terms_with_prefix(field, term.words[0], limit=PREFIX_HIGHLIGHTS)
            words.update(word for word, _ in found)
    return words


def _near_words(
    ranked: RankedQuery, parser: QueryParser, texts: Iterable[dict[str, str]]
) -> set[str]:
    """The stems of the words in these texts that are nearly those typed."""
    there = {
        word for each in texts for text in each.values() for word in parser.words(text[:NEAR_CHARS])
    }
    near = {
        word
        for term in ranked.terms
        for typed in term.typed
        for word in there
        if is_near(word[: len(typed)] if term.kind == "prefix" else word, typed, typos(typed))
    }
    return {stem for word in near for stem in parser.stems(word)}


def is_near(word: str, typed: str, most: int) -> bool:
    """Whether so few insertions, deletions, substitutions and swaps of neighbours lead from one to
    the other (optimal string alignment, which is how tantivy's automata count them).
    """
    if abs(len(word) - len(typed)) > most:
        return False
    before: list[int] = []
    row = list(range(len(typed) + 1))
    for i, letter in enumerate(word, 1):
        above = row
        row = [i]
        for j, other in enumerate(typed, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == typed[j - 2] and word[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return False
        before = above
    return row[-1] <= most


def _stored(document: Any, name: str) -> str:
    stored = document.get_first(name)
    return stored if isinstance(stored, str) else bytes(stored).decode()
