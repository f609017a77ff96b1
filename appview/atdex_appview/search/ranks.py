"""The queries that put a hit into its rank; what the ranks mean is in `search`.

Where typos are forgiven, each word stands for those that are nearly the same: one letter other,
more, less or two swapped from four letters on, two such from eight on. Short words and numbers
stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tantivy import Occur, Query

from atdex_appview.search.filters import Filters
from atdex_appview.search.query import ParsedQuery, Term

RANKS = (5, 4, 3, 2, 1)
"""Best first; their meaning is in `search`."""

_IMPLY_ALL = (5, 4, 3)
"""Ranks whose conditions hold for nothing but what the whole query matches."""

_NOT_OF = {5: (), 4: (5,), 3: (4,), 2: (3,), 1: (3, 2)}
"""The ranks that a rank leaves out. Each condition from the third on holds wherever the one above
it does, and so does the second wherever the fourth does."""

_FIELDS = {4: "name", 3: "head", 2: "text", 1: "text"}
"""The field that every word of a hit of this rank is in."""

ONE_TYPO, TWO_TYPOS = 4, 8
"""Letters of a word from which on so many typos are forgiven."""


def typos(word: str) -> int:
    """How many typos a word may have."""
    if len(word) < ONE_TYPO or not word.isalpha():
        return 0
    return 2 if len(word) >= TWO_TYPOS else 1


def may_have_typos(parsed: ParsedQuery) -> bool:
    return any(typos(word) for term in parsed.terms for word in term.typed)


class RankedQuery:
    """A query as one question a rank. The questions of two ranks have no hit in common.

    `fields` is the schema of the index. Without words there are no ranks.
    """

    def __init__(
        self, fields: Any, parsed: ParsedQuery, filters: Filters, *, fuzzy: bool = False
    ) -> None:
        self.fields = fields
        self.terms = parsed.terms
        self.fuzzy = fuzzy
        self._key = parsed.key
        self._filters = filters.clauses(fields)
        self._conditions = self._rank_conditions(parsed) if parsed.terms else {}
        self.ranks: tuple[int, ...] = tuple(self._conditions)

    def walked(self, searcher: Any, rank: int = RANKS[-1]) -> int:
        """How many datasets are gone through for the hits of this rank, about.

        0 where typos are forgiven: to look the words up is what takes time then, and each part of
        a search does it anew.
        """
        if self.fuzzy:
            return 0
        if rank not in _FIELDS:
            return int(searcher.doc_freq("name_key", self._key))
        words = [word for term in self.terms if term.kind != "prefix" for word in term.words]
        if not words:
            return int(searcher.num_docs)
        return min(int(searcher.doc_freq(_FIELDS[rank], word)) for word in words)

    def all_hits(self) -> Query:
        """Matches what any rank does."""
        required = [self._in(term, "text", "exact") for term in self.terms] + self._filters
        return all_of(required) if required else Query.all_query()

    def of_rank(self, rank: int) -> Query:
        """The hits of one rank."""
        conditions = self._conditions[rank]
        # What is in a name or a tag is in the text: its own postings, the longest, say nothing new.
        within = self._filters if rank in _IMPLY_ALL else [self.all_hits()]
        clauses = [(Occur.Must, condition) for condition in [*conditions, *within]]
        clauses += [
            (Occur.MustNot, all_of(self._conditions[higher]))
            for higher in _NOT_OF[rank]
            if higher in self._conditions
        ]
        return Query.boolean_query(clauses)

    def _rank_conditions(self, parsed: ParsedQuery) -> dict[int, list[Query]]:
        in_name = [self._in(term, "name", "name_exact") for term in self.terms]
        ranks = {
            5: [self._term("name_key", self._key)],
            4: in_name,
            3: [self._in(term, "head", "head_exact") for term in self.terms],
            2: [any_of(in_name)],
            1: [],
        }
        if self.fuzzy:
            # A name is not what was typed; and that of rank 2 takes as long as all the others.
            del ranks[5], ranks[2]
        elif len(self.terms) == 1:
            # "One of them in the name" is all of them.
            del ranks[2]
        return ranks

    def _in(self, term: Term, field: str, exact: str) -> Query:
        if self.fuzzy:
            prefix = term.kind == "prefix"
            return all_of([self._near(word, exact, prefix=prefix) for word in term.typed])
        match term.kind:
            case "word":
                return self._term(field, term.words[0])
            case "prefix":
                # Folding to ASCII turns some letters into punctuation, which a pattern reads.
                pattern = f"{re.escape(term.words[0])}.*"
                return Query.regex_query(self.fields, exact, pattern)
            case "phrase":
                return Query.phrase_query(self.fields, field, list(term.words))

    def _near(self, word: str, exact: str, *, prefix: bool) -> Query:
        return Query.fuzzy_term_query(self.fields, exact, word, distance=typos(word), prefix=prefix)

    def _term(self, field: str, word: str) -> Query:
        return Query.term_query(self.fields, field, word)


def all_of(queries: Sequence[Query]) -> Query:
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Must, query) for query in queries])


def any_of(queries: Sequence[Query]) -> Query:
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Should, query) for query in queries])
