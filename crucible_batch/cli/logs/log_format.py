"""The formats of a log."""

from __future__ import annotations

import enum


class LogFormat(enum.StrEnum):
    """The format of a log's lines."""

    TEXT = "text"
    JSON = "json"
