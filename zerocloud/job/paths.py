"""Names of objects in a job: `swift://ACCOUNT/CONTAINER/OBJECT`.

Paths in a job are literal names, never URL-decoded.  `~` and `.` stand for
the account of the request.  Any name that Swift allows is allowed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

SCHEME = "swift://"


@dataclass(frozen=True, order=True)
class ObjectPath:
    """A full object name, in Unicode as Swift's listings show it."""

    account: str
    container: str
    object: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.account}/{self.container}/{self.object}"

    @property
    def quoted(self) -> str:
        """`/account/container/object`, percent-encoded for a request line."""
        return quote(f"/{self.account}/{self.container}/{self.object}")

    @property
    def wsgi(self) -> str:
        """The same path as a WSGI string (UTF-8 bytes read as latin-1)."""
        path = f"/{self.account}/{self.container}/{self.object}"
        return path.encode("utf-8").decode("latin-1")
