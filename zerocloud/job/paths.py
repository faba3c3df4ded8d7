"""Names of objects in a job: `swift://ACCOUNT/CONTAINER/OBJECT`.

Paths in a job are literal names, never URL-decoded.  `~` and `.` stand for
the account of the request.  Any name that Swift allows is allowed here: the
object's name may hold slashes, blanks, line ends, `%41` and every other
character but NUL.  Lengths are Swift's, counted in bytes of UTF-8.

Only `*` is special, and only in the paths of devices (job/wildcards.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from zerocloud.errors import JobError
from zerocloud.job.document import Value, shown

SCHEME = "swift://"
FORM = "swift://ACCOUNT/CONTAINER/OBJECT"
MAX_ACCOUNT_BYTES = 256
MAX_CONTAINER_BYTES = 256
MAX_OBJECT_BYTES = 1024


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


def name_problem(path: ObjectPath) -> str | None:
    """What Swift would not allow in these names, or None."""
    for what, name, limit in (
        ("account", path.account, MAX_ACCOUNT_BYTES),
        ("container", path.container, MAX_CONTAINER_BYTES),
        ("object", path.object, MAX_OBJECT_BYTES),
    ):
        size = len(name.encode("utf-8"))
        if not name:
            return f"the {what} is missing; allowed is {FORM}"
        if size > limit:
            return f"the {what} has {size} bytes; allowed are {limit}"
        if "\0" in name:
            return f"the {what} has a NUL character; Swift allows none"
    if "/" in path.container:
        return "the container has a slash; Swift allows none"
    return None


def parse_object_path(value: Value, *, account: str) -> ObjectPath:
    """Parse `swift://ACCOUNT/CONTAINER/OBJECT`; `*` is literal but in ACCOUNT.

    `account` is that of the request.  Raises JobError `job_schema` when a
    part is missing, empty, too long or holds NUL.
    """
    text = value.text(FORM)
    if not text.startswith(SCHEME):
        raise value.wrong(FORM)
    asked, _, rest = text[len(SCHEME) :].partition("/")
    container, _, name = rest.partition("/")
    if asked in ("~", "."):
        asked = account
    path = ObjectPath(asked, container, name)
    problem = name_problem(path)
    if "*" in asked:
        problem = "the account has a wildcard; allowed is one account, or ~"
    elif asked and container and not name:
        problem = (
            f"a container is not an object; allowed is {FORM}, and "
            "swift://ACCOUNT/CONTAINER/* for each object of it"
        )
    if problem is not None:
        raise JobError(
            "job_schema",
            f"{value.subject} is {shown(text)}; {problem}",
            where=value.where,
        )
    return path
