"""The account and gateway settings: from flags, the environment and an env file, in this order."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from crucible_batch.errors import UserError
from crucible_batch.secret_text import HiddenText

KEY_VARIABLE = "MOLTAZINE_API_KEY"
BASE_VARIABLE = "CRUCIBLE_API_BASE"
ACCOUNTS_VARIABLE = "CRUCIBLE_BATCH_ACCOUNTS"
PRODUCTION = "https://crucible.moltazine.com"
_ENVIRONMENT, _DEFAULT = "the environment", "the default"
_LONGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """The gateway to use, and the API key.

    ``key_source`` and ``base_source`` are their sources, for messages. ``variables`` are all values
    of the env file, for the sources of notifications (``env:NAME``). ``ignored`` is a message about
    a setting that was ignored. ``storage_hosts`` are hosts that storage links may lead to although
    their addresses aren't public. ``env_file`` is the file that the user named, if any.
    ``state_directory`` is where the user's runs keep what later commands read; None: nowhere.
    ``accounts_directory`` has the files of budget accounts; None: a manifest with ``budget.per``
    can't be run.
    """

    api_key: str | None = field(repr=False)
    base_url: str = PRODUCTION
    proxy: str | None = field(default=None, repr=False)
    key_source: str = "nowhere"
    base_source: str = _DEFAULT
    ignored: str | None = None
    storage_hosts: tuple[str, ...] = ()
    env_file: Path | None = None
    state_directory: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    accounts_directory: Path | None = None

    def __post_init__(self) -> None:
        if self.api_key is not None:
            object.__setattr__(self, "api_key", HiddenText(self.api_key.strip()))

    @property
    def gateway(self) -> str:
        """The base URL in the form in which journals have it: without a slash at its end."""
        return self.base_url.rstrip("/")


def state_directory(environ: Mapping[str, str]) -> Path | None:
    """Return the user's state directory by the XDG rules.

    Returns None if the environment names no home directory.
    """
    state, home = Path(environ.get("XDG_STATE_HOME", "")), Path(environ.get("HOME", ""))
    if state.is_absolute():  # a relative path is ignored
        return state / "crucible-batch"
    if home.is_absolute():
        return home / ".local" / "state" / "crucible-batch"
    return None


def accounts_directory(environ: Mapping[str, str]) -> Path | None:
    """Return the directory of the budget accounts' files.

    Returns None if neither variable nor home directory is set. Raises ``UserError`` for a relative
    path, under which each working directory would have its own accounts.
    """
    named = environ.get(ACCOUNTS_VARIABLE)
    if named and not Path(named).is_absolute():
        message = f"{ACCOUNTS_VARIABLE} is {named!r}, a relative path"
        raise UserError(message, hint="set it to an absolute path")
    if named:
        return Path(named)
    state = state_directory(environ)
    if state is None:
        return None
    return state / "accounts"


def resolve(
    environ: Mapping[str, str],
    *,
    base_url: str | None = None,
    proxy: str | None = None,
    storage_hosts: Sequence[str] = (),
    dotenv: Path | None = None,
    env_file: Path | None = None,
) -> Settings:
    """Return the settings. An empty value counts as unset.

    ``env_file`` is the file that the user named: it must exist, and is read instead of ``dotenv``,
    which may be missing. The environment takes precedence over both. A base URL from either file is
    used only with a key from the same file: a file in someone else's folder must not send your key
    to another gateway. For the same reason, proxy and storage hosts aren't read from the
    environment. Raises ``UserError`` if the file can't be read.
    """
    named, file = env_file or dotenv, dict[str, HiddenText]()
    if named is not None and (named == env_file or named.is_file()):
        file = _read(named)
    in_file = str(named)
    key, key_source = _first(
        (environ.get(KEY_VARIABLE), _ENVIRONMENT), (file.get(KEY_VARIABLE), in_file)
    )
    bases = [(base_url, "a flag"), (environ.get(BASE_VARIABLE), _ENVIRONMENT)]
    if key_source == in_file:
        bases.append((file.get(BASE_VARIABLE), in_file))
    base, base_source = _first(*bases, (PRODUCTION, _DEFAULT))
    ignored = None
    if base_source == _DEFAULT and file.get(BASE_VARIABLE):
        ignored = (
            f"{BASE_VARIABLE} in {named} is ignored: "
            f"it is used only with a {KEY_VARIABLE} in the same file"
        )
    if env_file is not None and key_source == _ENVIRONMENT and file.get(KEY_VARIABLE):
        names = KEY_VARIABLE
        if ignored is not None:
            names = f"{KEY_VARIABLE} and {BASE_VARIABLE}"
        ignored = (
            f"{names} in {env_file} ignored: the {KEY_VARIABLE} of the environment takes precedence"
        )
    return Settings(
        api_key=key,
        base_url=(base or PRODUCTION).strip(),
        proxy=proxy,
        key_source=key_source,
        base_source=base_source,
        ignored=ignored,
        storage_hosts=tuple(storage_hosts),
        env_file=env_file,
        variables=file,
    )


def _first(*found: tuple[str | None, str]) -> tuple[str | None, str]:
    """Return the first value that is set, with its source."""
    return next(((value, source) for value, source in found if value), (None, "nowhere"))


def _read(dotenv: Path) -> dict[str, HiddenText]:
    """Return the values of an env file. Raises ``UserError`` if it can't be read."""
    from dotenv import dotenv_values  # noqa: PLC0415 - most commands read no such file

    try:
        with dotenv.open(encoding="utf-8") as stream:
            values = dotenv_values(stream=_bounded(stream), interpolate=False)
    except (OSError, ValueError) as error:
        why, hint = str(error), "correct or move the file"
        if isinstance(error, OSError):
            why = str(error.strerror)
        if isinstance(error, UnicodeDecodeError):
            why = "it is not UTF-8"
        if isinstance(error, FileNotFoundError):
            hint = "check the path"
        # Without a cause: the error's frames hold the file's text.
        raise UserError(f"{dotenv} can't be read: {why}", hint=hint) from None
    return {name: HiddenText(value) for name, value in values.items() if value is not None}


def _bounded(stream: TextIO) -> io.StringIO:
    """Return the stream's text. Raises ``ValueError`` if it is longer than ``_LONGEST``."""
    text = HiddenText(stream.read(_LONGEST + 1))
    if len(text) > _LONGEST:
        raise ValueError(f"it has more than {_LONGEST:,} characters")
    return io.StringIO(text)
