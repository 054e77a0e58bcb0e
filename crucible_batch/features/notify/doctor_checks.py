"""A test message to each channel, for ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence

from crucible_batch.cli.doctor import DoctorCheck
from crucible_batch.core.redaction import clean
from crucible_batch.errors import ExitCode
from crucible_batch.features.notify.part import send_test
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import Settings


async def checks(request: RunRequest, settings: Settings) -> Sequence[DoctorCheck]:
    """Send a test message to each channel.

    Raises ``ManifestError``, and ``NotificationError`` before one is sent.
    """
    findings = []
    for result in await send_test(request, settings):
        text = clean(f"{result.channel} {result.source}: {result.error or 'sent'}")
        if result.is_sent:
            findings.append(DoctorCheck("notify", "good", text))
            continue
        hint = "check the receiver and the network"
        findings.append(DoctorCheck("notify", "bad", text, hint, ExitCode.STOPPED))
    return findings or [DoctorCheck("notify", "warn", "the manifest has no notifications")]
