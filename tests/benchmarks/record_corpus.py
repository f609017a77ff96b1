"""Records the corpus that benchmarks replay: `python -m tests.benchmarks.record_corpus`.

A real PDS is driven through `--commits` commits of `--accounts` accounts, of which one in
`--share` publishes datasets. Kept in the user's cache folder and used again until the parameters
or the driver change; `--fresh` records it anew.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from tests.support.corpus import FULL, Corpus, Parameters
from tests.support.corpus_recording import recorded
from tests.support.corpus_values import dataset_collections


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--commits", type=int, default=FULL.commits)
    arguments.add_argument("--accounts", type=int, default=FULL.accounts)
    arguments.add_argument("--share", type=int, default=FULL.share)
    arguments.add_argument("--seed", type=int, default=FULL.seed)
    arguments.add_argument("--fresh", action="store_true")
    given = arguments.parse_args()
    parameters = Parameters(given.commits, given.accounts, given.share, given.seed)
    if given.fresh:
        parameters.path.unlink(missing_ok=True)
    begun = time.monotonic()
    corpus = recorded(parameters)
    print(f"{parameters.path}: ready after {time.monotonic() - begun:.0f} s")
    print("\n".join(summary(corpus)))


def summary(corpus: Corpus) -> list[str]:
    """What is in it."""
    kinds = Counter(kind for kind, _body in corpus.decoded)
    wanted = set(dataset_collections())
    commits = [body for kind, body in corpus.decoded if kind == "#commit"]
    of_datasets = sum(
        any(op["path"].partition("/")[0] in wanted for op in body["ops"]) for body in commits
    )
    actions = Counter(op["action"] for body in commits for op in body["ops"])
    several = sum(len(body["ops"]) > 1 for body in commits)
    largest = max(len(body["ops"]) for body in commits)
    statuses = Counter(ending.status for ending in corpus.endings.values())
    size = sum(map(len, corpus.frames))
    versions = sum(len(versions) - 1 for versions in corpus.documents.values())
    records = sum(len(ending.records) for ending in corpus.endings.values())
    return [
        f"frames    {len(corpus.frames):,}, {size / len(corpus.frames):,.0f} bytes on average; "
        + ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()),
        f"commits   {of_datasets / len(commits):.1%} with datasets, {several:,} of several ops, "
        f"at most {largest}",
        "ops       " + ", ".join(f"{count:,} {action}" for action, count in actions.items()),
        f"accounts  {len(corpus.endings)}: "
        + ", ".join(f"{count} {status}" for status, count in statuses.items()),
        f"documents {versions} changed; {records:,} records at the end",
    ]


if __name__ == "__main__":
    main()
