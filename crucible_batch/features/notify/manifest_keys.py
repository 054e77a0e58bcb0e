"""The key ``notify`` of manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from crucible_batch.errors import Problem
from crucible_batch.manifest.field_types import OptionalCommand, SecretSource
from crucible_batch.manifest.models import Header, Part
from crucible_batch.manifest.source_map import SourceNode

_CHANNELS = ("heartbeat", "webhook", "command", "apprise")
HIDDEN = ("heartbeat", "webhook", "secret", "apprise")
"""The keys whose values are read from elsewhere and never shown; ``secret_text.py`` has them."""


class Notification(Part):
    """A message about a run. It has one of `heartbeat`, `webhook`, `command` and `apprise`.

    Addresses and secrets are not written in a manifest: `env:NAME` reads one from the environment,
    and `file:PATH` from a file.
    """

    on: list[Literal["success", "partial", "blocked", "failure"]] = Field(
        min_length=1, description="Events that are notified.", examples=[["success", "failure"]]
    )
    heartbeat: SecretSource = Field(
        None,
        description="URL that is pinged as Healthchecks expects it.",
        examples=["env:HEARTBEAT_URL"],
    )
    webhook: SecretSource = Field(
        None,
        description="URL that receives a signed Standard Webhooks message.",
        examples=["env:HOOK_URL"],
    )
    secret: SecretSource = Field(
        None,
        description="Signing secret of the webhook, beginning with whsec_.",
        examples=["env:HOOK_SECRET"],
    )
    command: OptionalCommand = Field(
        None,
        description=(
            "Program and arguments, run in the manifest's folder."
            " It reads the message as JSON from stdin."
        ),
        examples=[["./notify.sh"]],
    )
    apprise: SecretSource = Field(
        None,
        description="Apprise URLs, one a line; requires the extra `apprise`.",
        examples=["file:/etc/batch/apprise"],
    )

    def faults(self, site: SourceNode, path: tuple[str | int, ...]) -> Iterator[Problem]:
        """Yield what is wrong between its fields. It is at ``path`` of the manifest."""
        channels = [name for name in _CHANNELS if getattr(self, name) is not None]
        if len(channels) != 1:
            got = " and ".join(channels) or "none of them"
            message = f"must have one of {', '.join(_CHANNELS)}, got {got}"
            yield site.problem(path, message)
        if self.secret is not None and self.webhook is None:
            yield site.problem((*path, "secret"), "`secret` belongs to `webhook`", key=True)
        if self.webhook is not None and self.secret is None:
            yield site.problem((*path, "webhook"), "`webhook` needs `secret`", key=True)


class NotifyKeys(Header):
    """A header that may have notifications."""

    notify: list[Notification] = Field(
        default_factory=list, description="Messages about starts and ends of runs."
    )

    @property
    def sends_messages(self) -> bool:
        return bool(self.notify)

    def programs(self) -> Iterator[str]:
        yield from super().programs()
        yield from (each.command[0] for each in self.notify if each.command)

    def sources(self) -> Iterator[str]:
        for each in self.notify:
            yield from filter(None, (getattr(each, key) for key in HIDDEN))

    def problems(self, site: SourceNode) -> Iterator[Problem]:
        yield from super().problems(site)
        for index, notification in enumerate(self.notify):
            yield from notification.faults(site, ("notify", index))


KEYS = (NotifyKeys,)


def notifications_of(header: Header) -> Sequence[Notification]:
    """Return the notifications of a manifest."""
    assert isinstance(header, NotifyKeys)
    return header.notify
