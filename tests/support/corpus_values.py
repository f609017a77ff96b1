"""The records that a corpus is filled with: datasets of both families, and what most repos hold.

Sizes are those of the real network: a post of 200 to 900 bytes, a like of 230.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import atdex_lexicons
from tests.support.paths import FIXTURES

Record = dict[str, Any]

EXAMPLES = Path(atdex_lexicons.__file__).parent / "examples"
SOCIAL = ("app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feed.repost")
"""Stand in for everything that an index of datasets does not want; by how often, see `social`."""
FOLLOW = "app.bsky.graph.follow"
LETTERS = "234567abcdefghijklmnopqrstuvwxyz"
WORDS = """tree light morning river paper signal garden window letter number winter cloud story
machine ocean planet colour music silver bridge""".split()  # noqa: SIM905 - words, not code


class Values:
    """Makes records. The same dice make the same ones."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._datasets = _datasets()

    def dataset(self) -> Record:
        """A record of one of the dataset collections, none like another."""
        record: Record = json.loads(self._dice.choice(self._datasets))
        if "name" in record:
            record["name"] = f"{record['name']} {self._number()}"
        return self.changed(record)

    def social(self) -> Record:
        kind = self._dice.choices([*SOCIAL, FOLLOW], weights=[45, 35, 8, 12])[0]
        if kind == "app.bsky.feed.post":
            return self._post()
        did = f"did:plc:{self._letters(24)}"
        if kind == FOLLOW:
            return {"$type": kind, "subject": did, "createdAt": self._time()}
        subject = {
            "uri": f"at://{did}/app.bsky.feed.post/{self._letters(13)}",
            "cid": f"bafyrei{self._letters(52)}",
        }
        return {"$type": kind, "subject": subject, "createdAt": self._time()}

    def changed(self, record: Record) -> Record:
        """Another version of the record, still as valid as it was."""
        return record | {"createdAt": self._time()}

    def _post(self) -> Record:
        words = " ".join(self._dice.choice(WORDS) for _ in range(self._dice.randint(4, 45)))
        post: Record = {
            "$type": "app.bsky.feed.post",
            "text": words[:300],
            "langs": ["en"],
            "createdAt": self._time(),
        }
        if self._dice.random() < 0.3:
            link = f"https://example.com/{self._letters(20)}"
            post["embed"] = {
                "$type": "app.bsky.embed.external",
                "external": {"uri": link, "title": words[:60], "description": words},
            }
            post["facets"] = [
                {
                    "index": {"byteStart": 0, "byteEnd": 4},
                    "features": [{"$type": "app.bsky.richtext.facet#link", "uri": link}],
                }
            ]
        return post

    def _time(self) -> str:
        dice = self._dice
        day, hour = dice.randint(1, 28), dice.randint(0, 23)
        minute, millis = dice.randint(0, 59), dice.randint(0, 59_999)
        date = f"2026-{dice.randint(1, 10):02}-{day:02}"
        return f"{date}T{hour:02}:{minute:02}:{millis // 1000:02}.{millis % 1000:03}Z"

    def _number(self) -> int:
        return self._dice.randint(0, 10**9)

    def _letters(self, count: int) -> str:
        return "".join(self._dice.choices(LETTERS, k=count))


def _datasets() -> list[str]:
    """Valid records as JSON, of every collection of both families; none that names blobs, which
    a PDS would ask for."""
    files = sorted(EXAMPLES.glob("*/*.json"))
    records = [json.loads(path.read_text("utf-8")) for path in files]
    for path in sorted((FIXTURES / "atdata").glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict) and "$type" in content.get("value", {}):
            records.append(content["value"])
    texts = [json.dumps(record) for record in records if "$type" in record]
    return [text for text in texts if '"$type": "blob"' not in text]


def dataset_collections() -> list[str]:
    """The collections that `Values.dataset` draws from."""
    return sorted({json.loads(record)["$type"] for record in _datasets()})
