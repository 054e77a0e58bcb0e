"""The connection to the gateway that the settings name."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from crucible_batch.errors import KeyRefusedError
from crucible_batch.gateway import CrucibleClient, HttpGateway, Retrier, RetryPolicy, open_gateway
from crucible_batch.secret_text import HiddenText
from crucible_batch.settings import (
    BASE_VARIABLE,
    KEY_VARIABLE,
    Settings,
    accounts_directory,
    resolve,
    state_directory,
)

NO_API_KEY = "NO_API_KEY"
DOTENV = Path(".env")


def current_settings(
    *,
    base_url: str | None = None,
    proxy: str | None = None,
    storage_hosts: Sequence[str] = (),
    env_file: str | Path | None = None,
) -> Settings:
    """Return the settings from the environment and the working directory's ``.env``, read at the
    time of the call.

    ``env_file`` is read instead of ``.env``. The other arguments take precedence over both. Raises
    ``UserError`` if the file can't be read, or if the directory of budget accounts is a relative
    path.
    """
    environ = {
        name: HiddenText(os.environ[name])
        for name in (KEY_VARIABLE, BASE_VARIABLE)
        if name in os.environ
    }
    if env_file is not None:
        env_file = Path(env_file)
    found = resolve(
        environ,
        base_url=base_url,
        proxy=proxy,
        storage_hosts=storage_hosts,
        dotenv=DOTENV,
        env_file=env_file,
    )
    return replace(
        found,
        state_directory=state_directory(os.environ),
        accounts_directory=accounts_directory(os.environ),
    )


def require_key(settings: Settings, manifest: Path | None = None) -> str:
    """Return the API key.

    Raises ``KeyRefusedError`` if there is none, with a hint at an env file by the manifest.
    """
    if settings.api_key is None:
        hint = unread_env_file(settings, manifest)
        if hint is None and settings.env_file is not None:
            hint = f"set {KEY_VARIABLE} in {settings.env_file} or in the environment"
        raise KeyRefusedError(
            "there is no API key",
            code=NO_API_KEY,
            hint=hint
            or f"set {KEY_VARIABLE}, in the environment or in a .env file here; "
            "without an account, try: crucible-batch demo",
        )
    return settings.api_key


def unread_env_file(settings: Settings, manifest: Path | None) -> str | None:
    """Return a hint at the ``.env`` beside the manifest, which is not read; None if there is none
    to point at.

    Only its name is used: it may be another person's.
    """
    if manifest is None or settings.api_key is not None or settings.env_file is not None:
        return None
    beside = manifest.parent / DOTENV
    if not beside.is_file() or (DOTENV.exists() and beside.samefile(DOTENV)):
        return None
    return (
        f"{beside} is not in the working directory, and so it was not read; to use it, add:"
        f" --env-file {shlex.quote(str(beside))}"
    )


def gateway_for(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None,
    retry: RetryPolicy | Retrier = RetryPolicy(),  # noqa: B008 - frozen
) -> AbstractAsyncContextManager[HttpGateway]:
    """Open the gateway that the settings name. Raises ``KeyRefusedError`` if there is no key."""
    return open_gateway(
        settings.base_url,
        require_key(settings),
        transport=transport,
        proxy=settings.proxy,
        storage_hosts=settings.storage_hosts,
        retry=retry,
    )


@asynccontextmanager
async def connect(
    settings: Settings | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[CrucibleClient]:
    """Open a client for the settings, by default those of the environment.

    Raises ``KeyRefusedError`` if there is no key, and ``UserError`` if the base URL is not valid.
    """
    settings = settings or current_settings()
    async with CrucibleClient(
        require_key(settings), base_url=settings.base_url, transport=transport, proxy=settings.proxy
    ) as client:
        yield client
