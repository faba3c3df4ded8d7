"""One cargo folder for several checkouts of the crate, without mix-ups.

Cargo names what it builds of a crate by the crate's place in its workspace,
which is the same in every checkout, and finds out by modification times what
is out of date.  With a shared folder, a checkout whose files are older than
another one's last build would so be given the other one's binaries, and its
tests would pass or fail for code that it does not hold.
"""

import hashlib
from pathlib import Path

PATTERNS = ("Cargo.*", "build.rs", "src/**/*", "tests/**/*.rs")


def claim_crate(crate: Path, target: Path) -> None:
    """Make cargo build this checkout's crate if it built another last.

    Only the crate's own files are touched; its dependencies stay as they are.
    """
    files = sorted(
        path
        for pattern in PATTERNS
        for path in crate.glob(pattern)
        if path.is_file()
    )
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(crate)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    last = target / ".crate"
    if last.exists() and last.read_text() == digest.hexdigest():
        return
    for path in files:
        if path.suffix == ".rs":
            path.touch()
    target.mkdir(parents=True, exist_ok=True)
    last.write_text(digest.hexdigest())
