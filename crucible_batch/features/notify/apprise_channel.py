"""Apprise as a channel: e-mail, Slack, ntfy and a hundred other services.

An extra, loaded on first use.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import threading
from dataclasses import dataclass, field

from crucible_batch.features.notify.http_channels import LIMIT_S, SendError
from crucible_batch.features.notify.messages import RunMessage, text_of, title_of
from crucible_batch.option_values import RunEvent
from crucible_batch.secret_text import HiddenText

TIMEOUT_S = 20.0
_KINDS = {
    RunEvent.SUCCESS: "success",
    RunEvent.PARTIAL: "warning",
    RunEvent.BLOCKED: "warning",
    RunEvent.FAILURE: "failure",
}


def is_installed() -> bool:
    """Whether the extra is installed. Does not load it."""
    return importlib.util.find_spec("apprise") is not None


def is_known(url: str) -> bool:
    """Whether Apprise has a service for a URL, and the URL is complete. Loads Apprise."""
    _silence()
    from apprise import Apprise  # noqa: PLC0415 - an extra, and 0.1 s

    return Apprise.instantiate(str(url)) is not None


@dataclass(slots=True)
class AppriseUrl:
    source: str
    url: HiddenText = field(repr=False)
    kind: str = "apprise"
    limit_s: float = LIMIT_S
    timeout_s: float = TIMEOUT_S

    async def send(self, message: RunMessage) -> None:
        """Send the message with Apprise, in a thread. Raises ``SendError``.

        Apprise reports only success or failure. A daemon thread, since one that waits for a server
        can't be cancelled and must not delay the end of the process.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def answer(is_sent: bool) -> None:
            if not done.done():
                done.set_result(is_sent)

        def work() -> None:
            try:
                is_sent = _send(
                    self.url, title_of(message), text_of(message), _KINDS[message.event]
                )
            # A service of Apprise may raise anything, and its text may name the URL.
            except Exception:  # noqa: BLE001
                is_sent = False
            if not loop.is_closed():
                loop.call_soon_threadsafe(answer, is_sent)

        threading.Thread(target=work, daemon=True, name="apprise").start()
        try:
            async with asyncio.timeout(self.timeout_s):
                is_sent = await done
        except TimeoutError:
            raise SendError(f"no result within {self.timeout_s:.0f} s", is_final=True) from None
        if not is_sent:
            raise SendError("Apprise could not deliver it", is_final=False)


def _send(url: str, title: str, body: str, kind: str) -> bool:
    _silence()
    from apprise import Apprise, NotifyFormat, NotifyType  # noqa: PLC0415 - an extra, and 0.1 s

    service = Apprise()
    if not service.add(str(url)):
        return False
    return bool(
        service.notify(
            body=body, title=title, notify_type=NotifyType(kind), body_format=NotifyFormat.TEXT
        )
    )


def _silence() -> None:
    """Keep the log records of Apprise and of its HTTP client out of our logs.

    They contain addresses and tokens.
    """
    for name in ("apprise", "urllib3", "requests"):
        log = logging.getLogger(name)
        log.propagate = False
        if not log.handlers:
            log.addHandler(logging.NullHandler())
