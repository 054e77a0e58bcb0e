"""The option ``--by``."""

from __future__ import annotations

import enum


class SpendBy(enum.StrEnum):
    """By what charges are summed up."""

    MONTH = "month"
    WORKFLOW = "workflow"
    TAG = "tag"
