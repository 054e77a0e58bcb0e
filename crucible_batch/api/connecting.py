"""The connection to the gateway that the settings name."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from crucible_batch.errors import KeyRefusedError
from crucible_batch.gateway import CrucibleClient, HttpGateway, OnRetry, open_gateway
from crucible_batch.secret_text import HiddenText
from crucible_batch.settings import BASE_VARIABLE, KEY_VARIABLE, Settings, resolve

NO_API_KEY = "NO_API_KEY"


def current_settings(
    *, base_url: str | None = None, proxy: str | None = None, storage_hosts: Sequence[str] = ()
) -> Settings:
    """Return the settings from the environment and the working directory's ``.env``, read at the time of the call.

    The arguments take precedence over both.
    """
    environ = {name: HiddenText(os.environ[name]) for name in (KEY_VARIABLE, BASE_VARIABLE) if name in os.environ}
    return resolve(environ, base_url=base_url, proxy=proxy, storage_hosts=storage_hosts, dotenv=Path(".env"))


def require_key(settings: Settings) -> str:
    """Return the API key. Raises ``KeyRefusedError`` if there is none."""
    if settings.api_key is None:
        raise KeyRefusedError(
            "there is no API key",
            code=NO_API_KEY,
            hint=f"set {KEY_VARIABLE}, in the environment or in a .env file here; without an account, try:"
            " crucible-batch demo",
        )
    return settings.api_key


@asynccontextmanager
async def gateway_for(
    settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None, on_retry: OnRetry | None = None
) -> AsyncIterator[HttpGateway]:
    """Open the gateway that the settings name. Raises ``KeyRefusedError`` if there is no key."""
    key = require_key(settings)
    async with open_gateway(
        settings.base_url,
        key,
        transport=transport,
        proxy=settings.proxy,
        storage_hosts=settings.storage_hosts,
        on_retry=on_retry,
    ) as gateway:
        yield gateway


@asynccontextmanager
async def connect(
    settings: Settings | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[CrucibleClient]:
    """Open a client for the settings, by default those of the environment.

    Raises ``KeyRefusedError`` if there is no key.
    """
    settings = settings or current_settings()
    async with CrucibleClient(
        require_key(settings), base_url=settings.base_url, transport=transport, proxy=settings.proxy
    ) as client:
        yield client
