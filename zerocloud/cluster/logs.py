"""Swift's loggers, into our log files instead of syslog.

Each process of the cluster has its standard error on DIR/log/NAME.log before
it loads Swift; every logger writes there, one line per event with the
server's name.  Swift always adds a syslog handler first: it is taken off, or
each line would go to whatever listens on port 514.
"""

from __future__ import annotations

import logging
import sys
from logging.handlers import SysLogHandler
from typing import Any

_FORMAT = "%(asctime)s %(server)s %(levelname)s: %(message)s"


def add_file_handler(
    _conf: dict[str, Any],
    _name: str,
    _log_to_console: bool,
    _log_route: str,
    _fmt: str,
    logger: logging.Logger,
    _adapted_logger: object,
) -> None:
    """Swift's `log_custom_handlers` hook."""
    for handler in list(logger.handlers):
        if isinstance(handler, SysLogHandler):
            logger.removeHandler(handler)
            handler.close()
    # In `single` mode several servers share a logger: one handler is enough.
    if not logger.handlers:
        handler = logging.StreamHandler(sys.__stderr__)
        handler.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(handler)
