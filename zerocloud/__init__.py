"""ZeroCloud: runs sandboxed programs next to the objects of Swift.

    from zerocloud import Client

The names of the SDK (zerocloud.client) can be had from here too.  They are
loaded when they are first asked for: the servers import this package as well,
and need none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zerocloud.client import Client as Client
    from zerocloud.client import ClientError as ClientError
    from zerocloud.client import make_job as make_job

_SDK = "zerocloud.client"


def __getattr__(name: str) -> Any:
    """Load the SDK at the first of its names."""
    if not name.startswith("_"):
        sdk = importlib.import_module(_SDK)
        if name in sdk.__all__:
            return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
