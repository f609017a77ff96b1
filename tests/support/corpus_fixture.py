"""The fixture `corpus`: the small one, recorded on first use and then kept.

from tests.support.corpus_fixture import corpus as corpus
"""

from __future__ import annotations

import pytest

from tests.devnet import Devnet
from tests.support.corpus import SMALL, Corpus
from tests.support.corpus_recording import recorded

RECORDING_SECONDS = 300  # timeout of the tests, of which the first may wait for the recording
"""Half a minute on an idle machine."""


@pytest.fixture(scope="session")
def corpus(devnet: Devnet) -> Corpus:
    """Recorded on servers of its own; `devnet` says whether any can run here."""
    assert devnet.pds
    return recorded(SMALL)
