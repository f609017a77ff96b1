"""What can go wrong with the devnet.

DevnetError
├── DevnetUnavailable   this machine lacks something: tests that need a PDS are skipped
├── InstallFailed       npm or the compiler failed: the reason is at the end of their output
├── StartFailed         the servers did not come up
└── Refused             the PDS answered a call with an error
"""

from __future__ import annotations


class DevnetError(Exception):
    """Base of everything that the devnet raises."""


class DevnetUnavailable(DevnetError):
    """This machine lacks `missing`, without which no PDS can run here."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing

    def __str__(self) -> str:
        return f"no real PDS on this machine: {self.missing}"


class InstallFailed(DevnetError):
    """A step of the installation ended with an error, or took too long."""

    def __init__(self, step: str, output: str) -> None:
        super().__init__(step, output)
        self.step = step
        self.output = output

    def __str__(self) -> str:
        return f"installing the devnet failed at `{self.step}`; its last lines:\n{self.output}"


class StartFailed(DevnetError):
    """The servers exited or stayed silent. `output` is the end of what they wrote."""

    def __init__(self, reason: str, output: str) -> None:
        super().__init__(reason, output)
        self.reason = reason
        self.output = output

    def __str__(self) -> str:
        return f"the devnet did not start: {self.reason}\n{self.output}"


class Refused(DevnetError):
    """The PDS answered `method` with an error: HTTP `status`, and `error` as XRPC names it."""

    def __init__(self, method: str, status: int, error: str, message: str) -> None:
        super().__init__(method, status, error, message)
        self.method = method
        self.status = status
        self.error = error
        self.message = message

    def __str__(self) -> str:
        return f"{self.method} answered {self.status} {self.error}: {self.message}"
