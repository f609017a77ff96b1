from __future__ import annotations

from atdex_appview.sieve import Sieve


def test_what_was_added_passes_and_nearly_nothing_else() -> None:
    sieve = Sieve(5_000_000)
    names = [f"did:plc:{number}" for number in range(10_000)]
    for name in names[::2]:
        sieve.add(name)
    assert all(map(sieve.passes, names[::2]))
    assert sum(map(sieve.passes, names[1::2])) < 50
