"""The entries of ``notify`` in a manifest to channels, or to problems.

Nothing is sent or run here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from crucible_batch.core.redaction import clean
from crucible_batch.features.notify.apprise_channel import AppriseUrl, is_installed, is_known
from crucible_batch.features.notify.command_channel import Command
from crucible_batch.features.notify.delivery import NotificationChannel
from crucible_batch.features.notify.http_channels import Heartbeat, HttpSender, Webhook
from crucible_batch.features.notify.manifest_keys import Notification
from crucible_batch.features.notify.sources import SourceFault, SourceReader
from crucible_batch.option_values import RunEvent
from crucible_batch.runs.programs import environment_of_commands, unusable_program
from crucible_batch.shell_command import install_hint


@dataclass(frozen=True, slots=True)
class Subscription:
    events: frozenset[RunEvent]
    channel: NotificationChannel


@dataclass(frozen=True, slots=True)
class Resolved:
    """The usable channels, and a sentence for each entry that can't be used."""

    subscriptions: tuple[Subscription, ...] = ()
    problems: tuple[str, ...] = ()

    def channels(self, event: RunEvent | None = None) -> list[NotificationChannel]:
        """Return the channels of an event; all channels if it is None."""
        return [
            each.channel for each in self.subscriptions if event is None or event in each.events
        ]


def resolve(
    notifications: Iterable[Notification],
    reader: SourceReader,
    *,
    proxy: str | None,
    allow_command: bool,
) -> Resolved:
    """Return the channels of a manifest.

    Reads variables and files, and loads Apprise if a channel needs it. Commands are channels only
    with ``allow_command``, the user's consent to run programs that a manifest names.
    """
    found: list[Subscription] = []
    problems: list[str] = []
    for index, notification in enumerate(notifications):
        try:
            channels = list(
                _channels(notification, index, reader, proxy, allow_command=allow_command)
            )
        except SourceFault as fault:
            problems.append(f"notify[{index}]: {fault}")
            continue
        events = frozenset(map(RunEvent, notification.on))
        found += [Subscription(events, channel) for channel in channels]
    return Resolved(tuple(found), tuple(dict.fromkeys(problems)))


def _channels(
    notification: Notification,
    index: int,
    reader: SourceReader,
    proxy: str | None,
    *,
    allow_command: bool,
) -> Iterator[NotificationChannel]:
    """Yield the channels of one entry: one, or one for each Apprise URL. Raises ``SourceFault``."""
    if notification.heartbeat is not None:
        source = notification.heartbeat
        yield Heartbeat(clean(source), reader.url(source), HttpSender(proxy))
    elif notification.webhook is not None:
        source = notification.webhook
        keys = reader.signing_keys(notification.secret or "")
        yield Webhook(clean(source), reader.url(source), keys, HttpSender(proxy))
    elif notification.apprise is not None:
        source = notification.apprise
        yield from _apprise_urls(clean(source), source, reader)
    else:
        yield _command(notification.command or [], index, reader, allow_command=allow_command)


def _apprise_urls(shown: str, source: str, reader: SourceReader) -> Iterator[AppriseUrl]:
    if not is_installed():
        raise SourceFault(f"apprise is not installed; {install_hint('apprise')}")
    urls = reader.apprise_urls(source)
    for number, url in enumerate(urls, 1):
        name = shown
        if len(urls) > 1:
            name += f" ({number} of {len(urls)})"
        if not is_known(url):
            raise SourceFault(f"{name} is not a URL that Apprise knows")
        yield AppriseUrl(name, url)


def _command(words: list[str], index: int, reader: SourceReader, *, allow_command: bool) -> Command:
    problem = unusable_program(words[0], reader.directory, allow_command=allow_command)
    if problem is not None:
        raise SourceFault(problem)
    program = clean(words[0], 200)
    environ = environment_of_commands(reader.environ, reader.key_variable, reader.api_key)
    return Command(f"notify[{index}] ({program})", tuple(words), reader.directory, environ)
