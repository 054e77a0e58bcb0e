"""A traceback with the values of all variables shows no key: not one that the planted bug of a
library makes.
"""

from __future__ import annotations

import asyncio
import io
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import aiohttp
import pytest
from rich.console import Console
from rich.traceback import Traceback

import crucible_batch as api
from crucible_batch.errors import UserError
from crucible_batch.runs import connecting
from crucible_batch.secret_text import HiddenText
from crucible_batch.settings import KEY_VARIABLE, Settings, resolve

KEY = "moltazine_" + "canary-" * 20  # longer than what is cut before it is shown
PARTS = (KEY, KEY[:40], "canary-canary")


def by_the_standard_library(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def by_rich(error: BaseException, **limits: Any) -> str:
    said = io.StringIO()
    for each in within(error):
        shown = Traceback.from_exception(
            type(each), each, each.__traceback__, show_locals=True, width=5000, **limits
        )
        Console(file=said, width=5000).print(shown)
    return said.getvalue()


def by_rich_unabridged(error: BaseException) -> str:
    return by_rich(
        error,
        locals_max_length=None,
        locals_max_string=None,
        max_frames=1000,
        locals_hide_sunder=False,
    )


def within(error: BaseException) -> Iterator[BaseException]:
    yield error
    for each in getattr(error, "exceptions", ()):
        yield from within(each)


# Rendering takes seconds, and what is shown in full has all of what is shown abridged.
RENDERERS = [
    by_the_standard_library,
    pytest.param(by_rich, marks=pytest.mark.slow),
    by_rich_unabridged,
]


def planted(*_args: object, **_options: object) -> NoReturn:
    raise RuntimeError("planted")


async def planted_later(*_args: object, **_options: object) -> NoReturn:
    await asyncio.sleep(0)
    raise RuntimeError("planted")


def frames(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_qualname
        trace = trace.tb_next


def asked(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        "version: 1\nname: m\nworkflow: z\nbudget: {credits: 1}\njobs: [{name: a, prompt: a}]\n"
    )
    settings = connecting.current_settings(base_url="http://127.0.0.1:9")
    asyncio.run(api.run(manifest, out_dir=tmp_path / "out", settings=settings))


BUGS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "connecting": (aiohttp.TCPConnector, "connect", planted_later),
    "sending": (aiohttp.ClientRequest, "__init__", planted),
    "opening the session": (aiohttp, "TCPConnector", planted),
    "opening the gateway": (connecting, "open_gateway", planted),
    "settling": (connecting, "resolve", planted),
}


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize("bug", BUGS)
def test_a_traceback_with_the_values_of_variables_shows_no_key(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bug: str,
    render: Callable[[BaseException], str],
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setattr(*BUGS[bug])
    with pytest.raises((RuntimeError, BaseExceptionGroup)) as caught:
        asked(tmp_path)
    shown = render(caught.value)
    assert "planted" in shown
    for part in PARTS:
        assert part not in shown
    if bug == "connecting":
        seen = {name for error in within(caught.value) for name in frames(error.__traceback__)}
        assert {"KeyChannel.send", "AiohttpChannel.send", "ClientSession._request"} <= seen


@pytest.mark.parametrize("render", RENDERERS)
def test_a_dotenv_file_that_cannot_be_read_shows_no_key(
    tmp_path: Path, render: Callable[[BaseException], str]
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(f"{KEY_VARIABLE}={KEY}\nX=".encode() + b"\xff")
    with pytest.raises(UserError) as caught:
        resolve({}, dotenv=path)
    shown = render(caught.value)
    for part in PARTS:
        assert part not in shown


def test_hidden_text_is_text_that_does_not_show() -> None:
    hidden = HiddenText("secret-text")
    assert hidden == "secret-text"
    assert f"{hidden}" == "secret-text"
    for shown in (hidden, hidden[:6], hidden[2:], hidden[0]):
        assert repr(shown) == "'***'"
    assert repr({"a": [hidden]}) == "{'a': ['***']}"


def test_settings_hide_the_key_wherever_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"{KEY_VARIABLE}= {KEY} \n")
    for settings in (Settings(KEY), resolve({KEY_VARIABLE: KEY}), resolve({}, dotenv=path)):
        assert settings.api_key == KEY
        assert repr(settings.api_key) == "'***'"
        assert KEY not in repr(settings)
