"""The account and gateway settings, resolved once from flags, the environment and ``.env``, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crucible_batch.errors import UserError
from crucible_batch.secret_text import HiddenText

KEY_VARIABLE = "MOLTAZINE_API_KEY"
BASE_VARIABLE = "CRUCIBLE_API_BASE"
PRODUCTION = "https://crucible.moltazine.com"


@dataclass(frozen=True, slots=True)
class Settings:
    """The gateway to use, and the API key. ``key_source`` and ``base_source`` are their sources, for messages.

    ``ignored`` is a message about a setting that was ignored. ``storage_hosts`` are hosts that storage links may lead
    to although their addresses aren't public.
    """

    api_key: str | None = field(repr=False)
    base_url: str = PRODUCTION
    proxy: str | None = None
    key_source: str = "nowhere"
    base_source: str = "the default"
    ignored: str | None = None
    storage_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.api_key is not None:
            object.__setattr__(self, "api_key", HiddenText(self.api_key))


def resolve(
    environ: Mapping[str, str],
    *,
    base_url: str | None = None,
    proxy: str | None = None,
    storage_hosts: Sequence[str] = (),
    dotenv: Path | None = None,
) -> Settings:
    """Return the settings. ``dotenv`` is the file to read, if it exists; an empty value counts as unset.

    A base URL from ``.env`` is used only with a key from the same file: a ``.env`` in someone else's folder must not
    send your key to another gateway. For the same reason, proxy and storage hosts aren't read from the environment.
    Raises ``UserError`` if the file can't be read.
    """
    file = _read(dotenv) if dotenv is not None and dotenv.is_file() else {}
    key, key_source = environ.get(KEY_VARIABLE) or None, "the environment"
    if key is None:
        key, key_source = file.get(KEY_VARIABLE) or None, str(dotenv)
    base, base_source, ignored = base_url, "a flag", None
    if base is None:
        base, base_source = environ.get(BASE_VARIABLE) or None, "the environment"
    if base is None and (from_file := file.get(BASE_VARIABLE)):
        if key is not None and key_source == str(dotenv):
            base, base_source = from_file, str(dotenv)
        else:
            ignored = f"{BASE_VARIABLE} in {dotenv} is ignored: it counts only with a {KEY_VARIABLE} in the same file"
    return Settings(
        api_key=HiddenText(key.strip()) if key is not None else None,
        base_url=(base or PRODUCTION).strip(),
        proxy=proxy,
        key_source=key_source if key is not None else "nowhere",
        base_source=base_source if base is not None else "the default",
        ignored=ignored,
        storage_hosts=tuple(storage_hosts),
    )


def _read(dotenv: Path) -> Mapping[str, HiddenText]:
    """Return the values of a ``.env`` file. Raises ``UserError`` if it can't be read."""
    from dotenv import dotenv_values  # noqa: PLC0415 - most commands read no such file

    try:
        values = dotenv_values(dotenv, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        # Without a cause: the error's frames hold the file's text.
        raise UserError(f"{dotenv} can't be read: {why}", hint="correct it, or move it away") from None
    return {name: HiddenText(value) for name, value in values.items() if value is not None}
