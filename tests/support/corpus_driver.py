"""Fills a real PDS, seeded, and records what it says meanwhile.

Accounts are created first; their steps then run interleaved, those of one account in order. Most
steps are one commit. Some accounts meet a fate: see `FATES`. What the dice decide is the same for
the same parameters; keys, DIDs, revs and the interleaving of threads are not.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import libipld
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.devnet import Account, Devnet
from tests.support.corpus import Corpus, Ending, Parameters, Version
from tests.support.corpus_repo import records_of, split_car
from tests.support.corpus_values import Record, Values

Say = Callable[[str], None]

WORKERS = 4  # of this side; the PDS, one thread of node, is what takes the time
SAY_SECONDS = 10.0
FRAME_SECONDS = 30.0
"""For the PDS to send what it has said already."""

FATES: tuple[tuple[str, ...], ...] = (
    ("rotate quietly",),
    ("rotate", "rename"),
    ("sleep", "wake"),
    ("take down", "put back"),
    ("end deactivated",),
    ("rotate quietly", "rotate", "announce"),
    ("end deleted",),
    ("rename", "rename"),
    ("end takendown",),
    ("sleep", "wake", "rotate"),
)
"""What happens to an account between its commits; an end after all of them. Publishers meet them
in this order, the other accounts every third one."""
ORDINARY_PER_FATE = 3
AFTER = {"sleep": ("wake",), "take down": ("put back",), "rotate quietly": ("create",)}
"""What must follow at once: nobody writes while inactive, and a repo whose last commit has the
signature of a key that is gone can be verified by nobody."""

EMPTY_SHARE = 0.06  # of accounts: two commits or fewer
FILLED = 30  # records in each of the first commits, so that trees have some depth
FILLINGS = 3
BATCH_MEAN, BATCH_MAX = 5, 60  # writes in one of applyWrites
ACTIONS = {"create": 72, "batch": 8, "update": 7, "delete": 13}
DATASETS_SHARE = 0.9  # of what a publisher writes


@dataclass(slots=True)
class _Actor:
    """An account, what is still to happen to it, and what its repo holds."""

    account: Account
    dice: random.Random
    values: Values
    publishes: bool
    steps: list[str]
    held: dict[tuple[str, str], Record] = field(default_factory=dict)
    documents: list[tuple[str | None, dict[str, Any]]] = field(default_factory=list)
    ending: Ending | None = None
    renamed: int = 0

    def new_value(self) -> Record:
        datasets = self.publishes and self.dice.random() < DATASETS_SHARE
        return self.values.dataset() if datasets else self.values.social()

    def some(self) -> tuple[str, str]:
        return self.dice.choice(list(self.held))


def record(devnet: Devnet, parameters: Parameters, say: Say = print) -> Corpus:
    """Drives `devnet`, which nobody has used before, and returns all of it."""
    driver = _Driver(devnet, parameters)
    with _Subscription(f"{devnet.ws}/xrpc/com.atproto.sync.subscribeRepos?cursor=0") as stream:
        begun = time.monotonic()
        driver.create_accounts()
        say(f"{parameters.accounts} accounts after {time.monotonic() - begun:.0f} s")
        with ThreadPoolExecutor(WORKERS) as pool:
            running = [pool.submit(driver.work, share) for share in range(WORKERS)]
            while not all(future.done() for future in running):
                time.sleep(0.2)
                if time.monotonic() - stream.said > SAY_SECONDS:
                    stream.said = time.monotonic()
                    seconds = stream.said - begun
                    say(f"{driver.done:,} of {driver.total:,} steps after {seconds:.0f} s")
            for future in running:
                future.result()
        endings = driver.endings()
        last = devnet.create_account(f"last-{parameters.seed}.test")
        endings[last.did] = _ending(devnet, last, "active")
        frames = stream.until_sync_of(last.did)
    documents = driver.documents() | {last.did: [(None, devnet.did_document(last.did))]}
    seqs = _seqs_of_revs(frames)
    versions = {
        did: [Version(0 if rev is None else seqs[did, rev], document) for rev, document in history]
        for did, history in documents.items()
    }
    return Corpus(parameters, frames, versions, endings)


class _Driver:
    def __init__(self, devnet: Devnet, parameters: Parameters) -> None:
        self._devnet = devnet
        self._parameters = parameters
        self._actors: list[_Actor] = []
        self.done = 0
        self.total = 0

    def create_accounts(self) -> None:
        parameters = self._parameters
        publishers = range(0, parameters.accounts, parameters.share)
        others = [number for number in range(parameters.accounts) if number not in publishers]
        budgets = _budgets(parameters, publishers, others)
        fates = {number: FATES[at % len(FATES)] for at, number in enumerate(publishers)}
        fates |= {
            number: FATES[at // ORDINARY_PER_FATE % len(FATES)]
            for at, number in enumerate(others)
            if at % ORDINARY_PER_FATE == 0
        }

        def create(number: int) -> _Actor:
            account = self._devnet.create_account(f"account-{number}.test")
            mine = random.Random(f"{parameters.seed}:{number}")
            steps = _steps(mine, budgets[number], fates.get(number, ()))
            actor = _Actor(account, mine, Values(mine), number in publishers, steps)
            actor.documents.append((None, self._devnet.did_document(account.did)))
            return actor

        with ThreadPoolExecutor(WORKERS) as pool:
            self._actors = list(pool.map(create, range(parameters.accounts)))
        self.total = sum(len(actor.steps) for actor in self._actors)

    def work(self, share: int) -> None:
        """Runs one share of the accounts to their ends, interleaved."""
        actors = self._actors[share::WORKERS]
        order = [actor for actor in actors for _ in actor.steps]
        random.Random(f"{self._parameters.seed}/{share}").shuffle(order)
        for actor in order:
            self._step(actor, actor.steps.pop(0))
            self.done += 1

    def endings(self) -> dict[str, Ending]:
        return {
            actor.account.did: actor.ending or _ending(self._devnet, actor.account, "active")
            for actor in self._actors
        }

    def documents(self) -> dict[str, list[tuple[str | None, dict[str, Any]]]]:
        return {actor.account.did: actor.documents for actor in self._actors}

    def _step(self, actor: _Actor, step: str) -> None:
        did, devnet = actor.account.did, self._devnet
        match step:
            case "rotate" | "rotate quietly":
                quiet = step == "rotate quietly"
                self._renewed(actor, lambda: devnet.rotate(did, quiet=quiet))
            case "rename":
                actor.renamed += 1
                stem = actor.account.handle.removesuffix(".test").partition("-or-")[0]
                handle = f"{stem}-or-{actor.renamed}.test"
                self._renewed(actor, lambda: actor.account.change_handle(handle))
            case "announce":
                devnet.announce_identity(did)
            case "sleep":
                actor.account.deactivate()
            case "wake":
                actor.account.activate()
            case "take down":
                devnet.take_down(did)
            case "put back":
                devnet.take_down(did, applied=False)
            case "end deactivated":
                actor.ending = _ending(devnet, actor.account, "deactivated")
                actor.account.deactivate()
            case "end takendown":
                actor.ending = _ending(devnet, actor.account, "takendown")
                devnet.take_down(did)
            case "end deleted":
                actor.ending = _ending(devnet, actor.account, "deleted")
                devnet.delete_account(did)
            case _:
                _commit(actor, step)

    def _renewed(self, actor: _Actor, change: Callable[[], None]) -> None:
        """A change of the document, and from which commit on it holds."""
        did = actor.account.did
        rev = self._devnet.query("com.atproto.sync.getLatestCommit", did=did)["rev"]
        change()
        actor.documents.append((rev, self._devnet.did_document(did)))


def _budgets(
    parameters: Parameters, publishers: Sequence[int], others: Sequence[int]
) -> dict[int, int]:
    """How many commits each account makes, all of `commits` together. Publishers make an average
    number, so that the share of datasets is known; of the others a few make many, some hardly any.
    """
    dice = random.Random(parameters.seed)
    budgets = dict.fromkeys(publishers, parameters.commits // parameters.accounts)
    left = parameters.commits - sum(budgets.values())
    weights = [
        0.0 if dice.random() < EMPTY_SHARE else dice.lognormvariate(0.0, 0.7) for _ in others
    ]
    budgets |= {
        number: int(left * weight / sum(weights))
        for number, weight in zip(others, weights, strict=True)
    }
    budgets[others[-1]] += parameters.commits - sum(budgets.values())
    return budgets


def _steps(dice: random.Random, budget: int, fate: tuple[str, ...]) -> list[str]:
    """Commits, with the fate at random places among them."""
    fillings = min(FILLINGS, budget // 4)
    steps = ["fill"] * fillings
    steps += dice.choices(list(ACTIONS), weights=list(ACTIONS.values()), k=budget - fillings)
    places = sorted(dice.randint(fillings, len(steps)) for _ in fate)
    for event, place in reversed(list(zip(fate, places, strict=True))):
        if event.startswith("end"):
            steps.append(event)
        elif event in ("wake", "put back"):
            continue  # comes with what it undoes
        else:
            steps[place:place] = [event, *AFTER.get(event, ())]
    return steps


def _commit(actor: _Actor, action: str) -> None:
    """One commit, or none where a record is updated to what it is."""
    account = actor.account
    if action in ("update", "delete") and not actor.held:
        action = "create"
    match action:
        case "create":
            value = actor.new_value()
            written = account.create_record(value["$type"], value)
            actor.held[value["$type"], written.rkey] = value
        case "update":
            collection, rkey = actor.some()
            value = actor.values.changed(actor.held[collection, rkey])
            account.put_record(collection, rkey, value)
            actor.held[collection, rkey] = value
        case "delete":
            collection, rkey = actor.some()
            account.delete_record(collection, rkey)
            del actor.held[collection, rkey]
        case "fill":
            count = FILLED // 3 if actor.publishes else FILLED
            _batch(actor, ["create"] * count)
        case "batch":
            size = min(BATCH_MAX, 2 + int(actor.dice.expovariate(1 / BATCH_MEAN)))
            _batch(actor, actor.dice.choices(["create", "update", "delete"], [6, 2, 2], k=size))
        case _:
            raise ValueError(f"no such step: {action}")


def _batch(actor: _Actor, actions: list[str]) -> None:
    """All in one commit, no record twice."""
    free = actor.dice.sample(list(actor.held), min(len(actor.held), len(actions)))
    writes: list[dict[str, Any]] = []
    for action in actions:
        if action == "create" or not free:
            value = actor.new_value()
            writes.append({"$type": "create", "collection": value["$type"], "value": value})
            continue
        collection, rkey = free.pop()
        write: dict[str, Any] = {"$type": action, "collection": collection, "rkey": rkey}
        held = actor.held.pop((collection, rkey))
        if action == "update":
            write["value"] = actor.values.changed(held)
        writes.append(write)
    for write, written in zip(writes, actor.account.apply_writes(writes), strict=True):
        if written is not None:
            actor.held[write["collection"], written.rkey] = write["value"]


def _ending(devnet: Devnet, account: Account, status: str) -> Ending:
    car = devnet.get_repo(account.did)
    return Ending(account.handle, status, car, records_of(*split_car(car)))


def _seqs_of_revs(frames: list[bytes]) -> dict[tuple[str, str], int]:
    """Where in the stream each commit is."""
    found: dict[tuple[str, str], int] = {}
    for frame in frames:
        _header, body = libipld.decode_dag_cbor_multi(frame)
        if "rev" in body:
            found[body["repo"] if "repo" in body else body["did"], body["rev"]] = body["seq"]
    return found


class _Subscription:
    """Every frame from the first on, in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._exit = ExitStack()
        self._socket: ClientConnection
        self._thread = threading.Thread(target=self._run, name="corpus-stream", daemon=True)
        self._frames: list[bytes] = []
        self._ended: ConnectionClosed | None = None
        self.said = time.monotonic()

    def __enter__(self) -> _Subscription:
        opened = connect(self._url, max_size=None, proxy=None, ping_interval=None)
        self._socket = self._exit.enter_context(opened)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._exit.close()
        self._thread.join(FRAME_SECONDS)

    def until_sync_of(self, did: str) -> list[bytes]:
        """Everything up to the #sync with which a new account is complete."""
        deadline = time.monotonic() + FRAME_SECONDS
        at = 0
        while time.monotonic() < deadline:
            while at < len(self._frames):
                header, body = libipld.decode_dag_cbor_multi(self._frames[at])
                at += 1
                if header["t"] == "#sync" and body["did"] == did:
                    return self._frames[:at]
            if self._ended is not None:
                raise RuntimeError(f"the PDS ended the stream: {self._ended}")
            time.sleep(0.05)
        raise TimeoutError(f"no #sync of {did} within {FRAME_SECONDS} s")

    def _run(self) -> None:
        try:
            while True:
                frame = self._socket.recv()
                assert isinstance(frame, bytes)
                if "seq" in libipld.decode_dag_cbor_multi(frame)[1]:  # not an #info
                    self._frames.append(frame)
        except ConnectionClosed as error:
            self._ended = error
