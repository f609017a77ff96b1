"""Values that others sent, in the text of an error."""

from __future__ import annotations


def shown(value: object, most: int = 80) -> str:
    """The value, quoted, of a text at most so many characters; of what can hold other values, its
    type alone. The whole text of a nested value is long to make, and deeper than Python recurses.
    """
    if isinstance(value, str):
        return repr(value[:most])
    if value is None or isinstance(value, int | float):
        return repr(value)[:most]
    return f"a {type(value).__name__}"


def text_of(value: object, most: int) -> str:
    """The value where it is a text, cut to so many characters; else what `shown` says of it."""
    return value[:most] if isinstance(value, str) else shown(value, most)
