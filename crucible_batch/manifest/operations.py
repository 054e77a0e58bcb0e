"""The rules of a manifest's budget period and notifications, which their models alone can't check."""

from __future__ import annotations

from collections.abc import Iterator

from crucible_batch.errors import Problem
from crucible_batch.manifest.models import Header
from crucible_batch.manifest.source_map import SourceNode

_CHANNELS = ("heartbeat", "webhook", "command", "apprise")


def operation_problems(header: Header, site: SourceNode) -> Iterator[Problem]:
    """Yield the problems of budget periods and notifications."""
    budget = header.budget
    if budget.per is not None and budget.credits is None:
        yield site.problem(("budget", "per"), "`per` needs `credits`, the limit for one period")
    if (budget.per is None) != (budget.account is None):
        given, missing = ("per", "account") if budget.account is None else ("account", "per")
        yield site.problem(("budget", given), f"`{given}` needs `{missing}`", key=True)
    for index, notification in enumerate(header.notify):
        channels = [name for name in _CHANNELS if getattr(notification, name) is not None]
        if len(channels) != 1:
            message = f"must have one of {', '.join(_CHANNELS)}, got {' and '.join(channels) or 'none of them'}"
            yield site.problem(("notify", index), message)
        if notification.secret is not None and notification.webhook is None:
            yield site.problem(("notify", index, "secret"), "`secret` belongs to `webhook`", key=True)
        if notification.webhook is not None and notification.secret is None:
            yield site.problem(("notify", index, "webhook"), "`webhook` needs `secret`", key=True)
