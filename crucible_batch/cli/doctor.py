"""The ``doctor`` command: checks the settings, the gateway, the key and this machine."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import httpx
from rich.text import Text

from crucible_batch import __version__
from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import say_indented, working
from crucible_batch.core.credits import format_credits
from crucible_batch.core.redaction import clean
from crucible_batch.errors import CrucibleBatchError, ExitCode, KeyRefusedError, UserError
from crucible_batch.features import found
from crucible_batch.gateway.aiohttp_transport import new_channel
from crucible_batch.gateway.url_guard import HINT_NOT_A_GATEWAY, parse_api_base, shown
from crucible_batch.runs.connecting import connect
from crucible_batch.runs.directory import try_directory
from crucible_batch.runs.request import RunRequest
from crucible_batch.settings import KEY_VARIABLE, Settings

Grade = Literal["good", "warn", "bad"]

MAX_SKEW_S = 60.0
"""A greater clock difference, in seconds, can invalidate signed URLs and the age of keys."""
MIN_FREE_BYTES = 1_000_000_000
HEALTH_TIMEOUT_S = 10.0
HEALTH_BYTES = 65_536
_MARKS: dict[Grade, str] = {"good": "✓", "warn": "!", "bad": "✗"}
_ANOTHER_DISK = "use a directory on another disk: crucible-batch run --out-dir DIR"
_LIBRARIES = ("httpx", "pydantic", "pyyaml", "tenacity", "typer", "rich")


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """The result of one check. ``exit_code`` is that of the command if the grade is bad."""

    topic: str
    grade: Grade
    text: str
    hint: str | None = None
    exit_code: ExitCode = ExitCode.OK


def examine(output: CommandOutput, settings: Settings, request: RunRequest | None) -> None:
    """Run all checks and show their results.

    With a request, also send a test message to the channels of its manifest. Exit code 3 for the
    key, 5 for the gateway, the disk or a message, else 0.
    """
    with working(output.err, "running checks"):
        told = []
        if request is not None:
            told = asyncio.run(_about_manifest(request, settings))
        ours = list(_about_settings(settings))
        usable = all(finding.grade != "bad" for finding in ours)
        theirs = asyncio.run(_about_gateway(settings, is_usable=usable))
        findings = [*ours, *theirs, *_about_machine(), *told]
    output.data = {
        "findings": [
            {name: getattr(finding, name) for name in ("topic", "grade", "text", "hint")}
            for finding in findings
        ]
    }
    for finding in findings:
        _show(output, finding)
    codes = {finding.exit_code for finding in findings}
    for code in (ExitCode.KEY_REFUSED, ExitCode.STOPPED):
        if code in codes:
            worst = next(finding for finding in findings if finding.exit_code is code)
            output.blame("DOCTOR", f"{worst.topic}: {worst.text}", worst.hint, exit_code=code)
            break


def _about_settings(settings: Settings) -> Iterator[DoctorCheck]:
    where = f"(from {settings.base_source})"
    try:
        yield DoctorCheck("gateway", "good", f"{shown(parse_api_base(settings.base_url))}  {where}")
    except UserError as error:
        yield DoctorCheck(
            "gateway", "bad", f"{error.message}  {where}", error.hint, ExitCode.STOPPED
        )
    if settings.ignored:
        yield DoctorCheck("gateway", "warn", settings.ignored)
    proxies = sorted(
        {name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}}
    )
    if settings.proxy:
        yield DoctorCheck("proxy", "good", "set by --proxy")
    elif proxies:
        yield DoctorCheck(
            "proxy",
            "warn",
            f"{', '.join(proxies)} set in the environment, but ignored",
            "to use a proxy: --proxy URL",
        )


async def _about_gateway(settings: Settings, *, is_usable: bool) -> list[DoctorCheck]:
    """Check the gateway's health and the key.

    With settings that can't be used, only check that there is a key.
    """
    if not is_usable:
        return [await _about_key(settings, reachable=False)]
    findings: list[DoctorCheck] = []
    reachable = False
    try:
        status, date, took_s = await _health(settings)
    # UserError for an invalid proxy.
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UserError) as error:
        why = clean(str(error), 200) or type(error).__name__
        findings.append(_unreachable(f"no answer: {why}"))
    else:
        reachable = 200 <= status < 300
        if reachable:
            findings.append(DoctorCheck("health", "good", f"up, {took_s * 1000:.0f} ms"))
            findings += _about_clock(date)
        else:
            findings.append(_unreachable(f"HTTP {status}", _hint_of_status(status)))
    findings.append(await _about_key(settings, reachable=reachable))
    return findings


async def _health(settings: Settings) -> tuple[int, str | None, float]:
    """Request the gateway's health without key or retries.

    Return the status, the date header and the seconds taken.
    """
    url = f"{settings.base_url.rstrip('/')}/api/health"
    channel = new_channel(proxy=settings.proxy)
    status, date, took_s = 0, None, 0.0
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_S):
            for _ in range(2):  # the first includes the connection time
                began = time.perf_counter()
                reply = await channel.send("GET", url, {})
                await reply.read(HEALTH_BYTES)
                await reply.close()
                status, date = reply.status, reply.headers.get("date")
                took_s = time.perf_counter() - began
    finally:
        await channel.aclose()
    return status, date, took_s


def _hint_of_status(status: int) -> str:
    if status == 404:
        return HINT_NOT_A_GATEWAY
    if status < 500:
        return "the server denies the request: check the base URL, or ask its operator for access"
    return "the server fails: try again later, or report it to its operator"


def _unreachable(text: str, hint: str = "check the network and the base URL") -> DoctorCheck:
    return DoctorCheck("health", "bad", text, hint, ExitCode.STOPPED)


def _about_clock(date: str | None) -> Iterator[DoctorCheck]:
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return
    skew_s = (datetime.now(UTC) - theirs.replace(tzinfo=theirs.tzinfo or UTC)).total_seconds()
    if abs(skew_s) > MAX_SKEW_S:
        yield DoctorCheck(
            "clock",
            "warn",
            f"{skew_s:+.0f} s compared with the gateway's",
            "set this machine's clock",
        )
    else:
        yield DoctorCheck("clock", "good", "in sync with the gateway")


async def _about_key(settings: Settings, *, reachable: bool) -> DoctorCheck:
    where = f"found in {settings.key_source}"
    if settings.api_key is None:
        hint = (
            f"set {KEY_VARIABLE}, or write it to .env here; crucible-batch demo runs without a key"
        )
        return DoctorCheck("key", "bad", "not set", hint, ExitCode.KEY_REFUSED)
    if not reachable:
        return DoctorCheck("key", "warn", f"{where}; not tested, since the gateway's check failed")
    try:
        async with connect(settings) as client:
            credits = await client.credits()
    except KeyRefusedError as error:
        text = f"{where}; refused: {clean(error.message)}"
        return DoctorCheck("key", "bad", text, f"check {KEY_VARIABLE}", ExitCode.KEY_REFUSED)
    except CrucibleBatchError as error:
        return DoctorCheck(
            "key", "bad", f"{where}; {clean(str(error))}", error.hint, ExitCode.STOPPED
        )
    return DoctorCheck(
        "key", "good", f"{where}, valid; {format_credits(credits.available)} credits available"
    )


def _about_machine() -> Iterator[DoctorCheck]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    gigabytes = f"{free / 1e9:.1f} GB free"
    try:
        try_directory(here)
    except OSError as error:
        text = f"{clean(str(here), 200)} can't be written: {error.strerror}"
        yield DoctorCheck("disk", "bad", text, _ANOTHER_DISK, ExitCode.STOPPED)
    except CrucibleBatchError as error:
        yield DoctorCheck("disk", "bad", clean(error.message), _ANOTHER_DISK, ExitCode.STOPPED)
    else:
        grade: Grade = "good" if free >= MIN_FREE_BYTES else "warn"
        yield DoctorCheck("disk", grade, f"{clean(str(here), 200)} is writable, {gigabytes}")
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    yield DoctorCheck(
        "versions",
        "good",
        f"crucible-batch {__version__}, Python {platform.python_version()}, {libraries}",
    )


async def _about_manifest(request: RunRequest, settings: Settings) -> list[DoctorCheck]:
    return [
        check
        for module in found("doctor_checks")
        for check in await module.checks(request, settings)
    ]


def _show(output: CommandOutput, finding: DoctorCheck) -> None:
    head = Text.assemble(
        (f"{_MARKS[finding.grade]} ", finding.grade), (f"{finding.topic:<9} ", "label")
    )
    say_indented(output.out, head, finding.text)
    if finding.hint:
        say_indented(output.out, Text(" " * head.cell_len), (finding.hint, "quiet"))
