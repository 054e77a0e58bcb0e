"""A filter that keeps signed queries out of the logs of httpx and httpcore.

httpx logs each request's whole URL at INFO, httpcore each answer's headers (a ``Location`` too) at DEBUG. A signed
URL's query is the right to read or write a file. Levels and handlers are the user's to set, so neither is touched:
the filter rewrites the record before any handler sees it. A logger's filters don't apply to its children, hence the
list of names. Other uses of httpx in the process keep their log lines; these lose their queries.
"""

from __future__ import annotations

import logging
import re
from typing import Final

_LOGGERS: Final = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)
_QUERY: Final = re.compile(r"""([?#])[^\s'"<>]+""")


class QueryFilter(logging.Filter):
    """Replaces each query and fragment in a record's text by ``***``. Drops nothing."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _QUERY.sub(r"\1***", record.getMessage())
        record.args = ()
        return True


_FILTER: Final = QueryFilter()


def quiet_loggers() -> None:
    """Install the filter; may be called any number of times."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
