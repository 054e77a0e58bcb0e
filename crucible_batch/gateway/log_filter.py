"""A log filter that removes the queries of signed URLs from the records of httpx and httpcore.

httpx logs each request's full URL at INFO, and httpcore each response's headers (including
``Location``) at DEBUG. The query of a signed URL grants the right to read or write a file. The
filter changes records before any handler gets them; levels and handlers are left to the user. A
logger's filters don't apply to its children, so each logger is listed. Other users of httpx in the
same process keep their log records, but also without queries.
"""

from __future__ import annotations

import logging
import re

_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)
_QUERY = re.compile(r"""([?#])[^\s'"<>]+""")


class QueryFilter(logging.Filter):
    """A filter that replaces each query and fragment in a record's text by ``***``.

    It drops no records.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _QUERY.sub(r"\1***", record.getMessage())
        record.args = ()
        return True


_FILTER = QueryFilter()


def quiet_loggers() -> None:
    """Install the filter. May be called any number of times."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
