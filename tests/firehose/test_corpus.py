"""Whatever happens on the way, a consumer ends with what the repos hold: by a recorded corpus.

The corpus is recorded from a real PDS the first time, which takes half a minute.
ATDEX_CORPUS_SEEDS sets how many dice the faults are thrown with.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.corpus import Corpus
from tests.support.corpus_conformance import conform, conform_killed
from tests.support.corpus_fixture import RECORDING_SECONDS
from tests.support.corpus_fixture import corpus as corpus
from tests.support.corpus_values import dataset_collections
from tests.support.replay import ReplayNetwork
from tests.support.replay_faults import REPO_FAULTS, Faults

pytestmark = [pytest.mark.devnet, pytest.mark.timeout(RECORDING_SECONDS)]

SEEDS = range(int(os.environ.get("ATDEX_CORPUS_SEEDS", "2")))
RATE = 3_000.0  # frames a second: consumers are about as fast, so that hosts change meanwhile
EVERYTHING = ["*"]
DATASETS = dataset_collections()


@pytest.mark.parametrize("collections", [DATASETS, EVERYTHING, ["science.alt.*"]])
async def test_from_the_start_every_repo_is_what_its_pds_exports(
    corpus: Corpus, collections: list[str]
) -> None:
    async with ReplayNetwork(corpus, rate=RATE) as network:
        outcome = await conform(network, corpus, collections)
    assert outcome.wrong == []
    assert outcome.records > 0


async def test_a_consumer_that_comes_late_finds_the_same(corpus: Corpus) -> None:
    """Documents and repos are of the end, while old frames are still coming."""
    async with ReplayNetwork(corpus, reached=corpus.seqs[-1]) as network:
        outcome = await conform(network, corpus, EVERYTHING)
    assert outcome.wrong == []


@pytest.mark.parametrize("collections", [DATASETS, EVERYTHING])
@pytest.mark.parametrize("by_collection", [False, True])
async def test_what_happened_before_the_stream_is_found_in_the_repos(
    corpus: Corpus, collections: list[str], by_collection: bool
) -> None:
    middle = corpus.seqs[len(corpus.seqs) // 2]
    async with ReplayNetwork(
        corpus, forgotten=middle, rate=RATE, collections=by_collection
    ) as network:
        outcome = await conform(network, corpus, collections)
    assert outcome.wrong == []
    assert outcome.repos_fetched > 0


@pytest.mark.parametrize("collections", [DATASETS, EVERYTHING])
@pytest.mark.parametrize("seed", SEEDS)
async def test_frames_that_are_lost_sent_twice_or_damaged_change_nothing_in_the_end(
    corpus: Corpus, seed: int, collections: list[str]
) -> None:
    async with ReplayNetwork(corpus, faults=Faults(seed, every=50), rate=RATE) as network:
        outcome = await conform(network, corpus, collections)
    assert outcome.wrong == []
    assert {"lost", "twice", "lie"} <= outcome.met.keys()


async def test_a_connection_that_is_cut_every_50_frames_changes_nothing(corpus: Corpus) -> None:
    async with ReplayNetwork(corpus, faults=Faults(cut_every=50), rate=RATE) as network:
        outcome = await conform(network, corpus, EVERYTHING)
    assert outcome.wrong == []
    assert outcome.connections >= len(corpus.frames) // 50


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_pds_that_misbehaves_delays_and_changes_nothing(corpus: Corpus, seed: int) -> None:
    faults = Faults(seed, every=25, repo_share=0.7)
    async with ReplayNetwork(corpus, faults=faults, rate=RATE) as network:
        outcome = await conform(network, corpus, EVERYTHING)
    assert outcome.wrong == []
    assert outcome.wrong_answers.keys() <= set(REPO_FAULTS)
    assert sum(outcome.wrong_answers.values()) >= 5


async def test_a_consumer_that_is_killed_again_and_again_loses_and_invents_nothing(
    corpus: Corpus, tmp_path: Path
) -> None:
    faults = Faults(1, every=100, repo_share=0.3)
    async with ReplayNetwork(corpus, faults=faults, rate=300.0) as network:
        wrong = await conform_killed(
            network, corpus, EVERYTHING, tmp_path, kills=4, every=1.0, deadline=60.0
        )
        assert network.connections > 4
    assert wrong == []
