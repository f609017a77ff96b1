"""A real PLC directory and a real PDS on loopback, for tests and for recording the demo."""

from tests.devnet.account import Account, Written
from tests.devnet.errors import DevnetError, DevnetUnavailable, Refused
from tests.devnet.harness import Devnet

__all__ = ["Account", "Devnet", "DevnetError", "DevnetUnavailable", "Refused", "Written"]
