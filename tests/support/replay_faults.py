"""What can go wrong while a corpus is replayed: a plan made by dice before the first frame.

A frame that is lost or lies does so for everyone, again and again. One that makes a consumer drop
its connection, sent twice or unreadable, does it once: whoever comes back gets it whole. Nothing
hides what nothing later would show: the last commit and the last status of an account are never
lost, and their lies leave them recognisable.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.corpus import Corpus

RepoFault = Literal["429", "500", "truncated", "another account's", "older", "slow"]
DIGEST_BYTES = 32  # at the end of a CID
REPO_FAULTS: tuple[RepoFault, ...] = (
    "429",
    "500",
    "truncated",
    "another account's",
    "older",
    "slow",
)
UNREADABLE_SHARE = 0.2  # of damaged commits: the others are frames, and lie

Kind = Literal["lost", "lie", "twice", "unreadable"]


@dataclass(frozen=True, slots=True)
class Planned:
    """What is sent in place of a frame."""

    kind: Kind
    frames: tuple[bytes, ...]

    @property
    def once(self) -> bool:
        """Whether a consumer must drop the connection at this, so that nothing is sent after."""
        return self.kind in ("twice", "unreadable")


@dataclass(frozen=True, slots=True)
class Faults:
    """`every`: one frame of so many, at a random place, is dropped, sent twice or damaged.
    `cut_every`: connections end after so many frames. `repo_share`: how many of the first answers
    of getRepo for an account are wrong, of which no account gets more than `repo_most`.
    """

    seed: int = 0
    every: int | None = None
    cut_every: int | None = None
    repo_share: float = 0.0
    repo_most: int = 3

    def planned(self, corpus: Corpus) -> dict[int, Planned]:
        """The faults of the stream, by the index of the frame."""
        if self.every is None:
            return {}
        dice = random.Random(self.seed)
        last = _last_words(corpus)
        plan: dict[int, Planned] = {}
        for start in range(0, len(corpus.frames), self.every):
            at = dice.randrange(start, start + self.every)
            if at >= len(corpus.frames):
                continue
            frame = corpus.frames[at]
            match dice.choice(["drop", "duplicate", "damage"]):
                case "drop" if at not in last:
                    plan[at] = Planned("lost", ())
                case "damage":
                    plan[at] = _damaged(dice, frame, *corpus.decoded[at], final=at in last)
                case _:
                    plan[at] = Planned("twice", (frame, frame))
        return plan

    def repo_dice(self) -> Callable[[str], RepoFault | None]:
        """Answers, for each request for a repo, what is wrong with the answer."""
        dice = random.Random(f"{self.seed} repos")
        met: dict[str, int] = {}

        def roll(did: str) -> RepoFault | None:
            if met.get(did, 0) >= self.repo_most or dice.random() >= self.repo_share:
                return None
            met[did] = met.get(did, 0) + 1
            return dice.choice(REPO_FAULTS)

        return roll


def _last_words(corpus: Corpus) -> set[int]:
    """The last commit or #sync, and the last #account, of every account."""
    found: dict[tuple[str, bool], int] = {}
    for at, ((kind, _body), did) in enumerate(zip(corpus.decoded, corpus.dids, strict=True)):
        if kind != "#identity":
            found[did, kind == "#account"] = at
    return set(found.values())


def _damaged(
    dice: random.Random, frame: bytes, kind: str, body: dict[str, Any], *, final: bool
) -> Planned:
    """A frame of which a consumer must believe nothing.

    #account and #identity carry no signature: a lie in them could not be told from the truth, so
    they become unreadable. `final`: the paths are left, by which a repo becomes known at all.
    """
    signed = kind in ("#commit", "#sync")
    if not signed or dice.random() < UNREADABLE_SHARE:
        return Planned("unreadable", (frame[: dice.randrange(1, len(frame))],))
    rev: bytes = body["rev"].encode()
    parts: list[bytes] = [body["blocks"]] * 3 + [rev]
    if kind == "#commit":
        parts.append(body["commit"][-DIGEST_BYTES:])
        for op in body["ops"][:3]:
            parts += [op["cid"][-DIGEST_BYTES:]] if op["cid"] else []
            parts += [] if final else [op["path"].encode()]
    raw = bytearray(frame)
    part = dice.choice(parts)
    start = frame.index(part)
    if part == rev:  # another TID
        raw[start + len(part) - 1] = ord("3" if part[-1:] == b"2" else "2")
    else:
        for place in dice.sample(range(len(part)), min(len(part), dice.randint(1, 3))):
            raw[start + place] ^= 1  # keeps letters letters
    return Planned("lie", (bytes(raw),))
