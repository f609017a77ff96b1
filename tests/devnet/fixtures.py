"""The fixtures `devnet` and `own_devnet`; their servers are installed before the first test.

Without npm, tests that use them are skipped and say why; with ATDEX_REQUIRE_DEVNET=1 they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.devnet.errors import DevnetUnavailable
from tests.devnet.harness import Devnet
from tests.devnet.install import Installed, install

FIXTURES = {"devnet", "own_devnet"}
_INSTALLED = pytest.StashKey[Installed | DevnetUnavailable]()


def _required() -> bool:
    return os.environ.get("ATDEX_REQUIRE_DEVNET") == "1"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Installs here: inside a fixture, minutes of compiling would count as the test's time."""
    needed = any(FIXTURES & set(getattr(item, "fixturenames", ())) for item in session.items)
    if not needed or session.config.option.collectonly:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    try:
        installed: Installed | DevnetUnavailable = install(
            say=reporter.write_line if reporter else print
        )
    except DevnetUnavailable as error:
        installed = error
    session.config.stash[_INSTALLED] = installed


@pytest.fixture(scope="session")
def devnet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Devnet]:
    """A PDS and its directory, shared by the session: use handles of your own."""
    with Devnet.start(tmp_path_factory.mktemp("devnet"), installed=_installed(request)) as running:
        yield running


@pytest.fixture
def own_devnet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Devnet]:
    """One for this test alone, where it counts what is on it. Two seconds more."""
    with Devnet.start(tmp_path_factory.mktemp("devnet"), installed=_installed(request)) as running:
        yield running


def _installed(request: pytest.FixtureRequest) -> Installed | None:
    """Skips, or fails, where there is none. None: not known yet, the start installs it."""
    installed = request.config.stash.get(_INSTALLED, None)
    if isinstance(installed, DevnetUnavailable):
        if _required():
            pytest.fail(f"ATDEX_REQUIRE_DEVNET=1, and {installed}", pytrace=False)
        pytest.skip(str(installed))
    return installed
