"""Settings are decided once: flag, environment, ``.env``, default."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible_batch.errors import UserError
from crucible_batch.settings import BASE_VARIABLE, KEY_VARIABLE, PRODUCTION, Settings, resolve

KEY = "moltazine_secret"


def dotenv(directory: Path, text: str) -> Path:
    path = directory / ".env"
    path.write_text(text)
    return path


def test_without_anything_it_is_production_and_no_key(tmp_path: Path) -> None:
    settings = resolve({}, dotenv=tmp_path / ".env")
    assert settings == Settings(
        api_key=None, base_url=PRODUCTION, key_source="nowhere", base_source="the default"
    )
    assert resolve({}) == settings


def test_the_key_of_the_environment_goes_before_that_of_the_file(tmp_path: Path) -> None:
    settings = resolve(
        {KEY_VARIABLE: KEY}, dotenv=dotenv(tmp_path, f"{KEY_VARIABLE}=moltazine_other\n")
    )
    assert (settings.api_key, settings.key_source) == (KEY, "the environment")


def test_the_key_of_the_file_is_taken_where_the_environment_has_none(tmp_path: Path) -> None:
    path = dotenv(tmp_path, f"# mine\n{KEY_VARIABLE}={KEY}\n")
    settings = resolve({}, dotenv=path)
    assert (settings.api_key, settings.key_source) == (KEY, str(path))


@pytest.mark.parametrize(
    "line", ["{}={}", "export {}={}", "{}='{}'", '{}="{}"', "{} = {}", "{}={}  # note"]
)
def test_the_file_is_read_as_other_tools_read_it(tmp_path: Path, line: str) -> None:
    assert resolve({}, dotenv=dotenv(tmp_path, line.format(KEY_VARIABLE, KEY))).api_key == KEY


def test_nothing_in_the_file_is_filled_in_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SECRET", "leaked")
    path = dotenv(
        tmp_path, f"{KEY_VARIABLE}=a\n{BASE_VARIABLE}=https://evil.example/${{OTHER_SECRET}}\n"
    )
    assert resolve({}, dotenv=path).base_url == "https://evil.example/${OTHER_SECRET}"


BASES = [
    pytest.param(
        "https://flag", "https://environ", True, "https://flag", "a flag", id="flag first"
    ),
    pytest.param(
        None,
        "https://environ",
        True,
        "https://environ",
        "the environment",
        id="then the environment",
    ),
    pytest.param(None, None, True, "https://file", None, id="then the file"),
    pytest.param(None, None, False, PRODUCTION, "the default", id="then production"),
    pytest.param(None, "", True, "https://file", None, id="an empty value is none"),
]


@pytest.mark.parametrize(("flag", "environ", "in_file", "base", "source"), BASES)
def test_the_base_url_is_flag_environment_file_default(
    tmp_path: Path,
    flag: str | None,
    environ: str | None,
    in_file: bool,
    base: str,
    source: str | None,
) -> None:
    path = dotenv(
        tmp_path, f"{KEY_VARIABLE}={KEY}\n" + (f"{BASE_VARIABLE}=https://file\n" if in_file else "")
    )
    variables = {} if environ is None else {BASE_VARIABLE: environ}
    settings = resolve(variables, base_url=flag, dotenv=path)
    assert (settings.base_url, settings.base_source) == (base, source or str(path))
    assert settings.ignored is None


@pytest.mark.parametrize("own_key", ["", f"{KEY_VARIABLE}=moltazine_strangers\n"])
def test_a_strangers_folder_does_not_lead_your_key_to_a_strangers_gateway(
    tmp_path: Path, own_key: str
) -> None:
    path = dotenv(tmp_path, f"{own_key}{BASE_VARIABLE}=https://evil.example\n")
    settings = resolve({KEY_VARIABLE: KEY}, dotenv=path)
    assert (settings.api_key, settings.base_url) == (KEY, PRODUCTION)
    assert settings.ignored is not None
    assert BASE_VARIABLE in settings.ignored
    assert KEY not in settings.ignored


@pytest.mark.parametrize(
    "key", ["", f"{KEY_VARIABLE}=\n", f"{KEY_VARIABLE}\n", f'{KEY_VARIABLE}=""\n']
)
def test_a_base_url_of_a_file_without_a_key_is_ignored_and_said_to_be(
    tmp_path: Path, key: str
) -> None:
    settings = resolve({}, dotenv=dotenv(tmp_path, f"{key}{BASE_VARIABLE}=https://evil.example\n"))
    assert (settings.api_key, settings.base_url, settings.key_source) == (
        None,
        PRODUCTION,
        "nowhere",
    )
    assert settings.ignored is not None


def test_an_ignored_base_url_is_not_mentioned_where_another_is_given(tmp_path: Path) -> None:
    path = dotenv(tmp_path, f"{BASE_VARIABLE}=https://evil.example\n")
    settings = resolve({KEY_VARIABLE: KEY}, base_url="https://flag", dotenv=path)
    assert (settings.base_url, settings.ignored) == ("https://flag", None)


def test_an_empty_key_in_the_environment_counts_as_none(tmp_path: Path) -> None:
    path = dotenv(tmp_path, f"{KEY_VARIABLE}={KEY}\n{BASE_VARIABLE}=https://file\n")
    settings = resolve({KEY_VARIABLE: ""}, dotenv=path)
    assert (settings.api_key, settings.base_url) == (KEY, "https://file")
    assert resolve({KEY_VARIABLE: "", BASE_VARIABLE: ""}).api_key is None


def test_blanks_around_values_are_dropped() -> None:
    settings = resolve({KEY_VARIABLE: f" {KEY}\n", BASE_VARIABLE: " https://environ "})
    assert (settings.api_key, settings.base_url) == (KEY, "https://environ")


def test_no_proxy_is_taken_from_the_environment() -> None:
    variables = {
        "HTTPS_PROXY": "http://evil",
        "https_proxy": "http://evil",
        "ALL_PROXY": "http://evil",
    }
    assert resolve(variables).proxy is None
    assert resolve(variables, proxy="http://mine").proxy == "http://mine"


def env_file(directory: Path, text: str) -> Path:
    path = directory / "client a.env"
    path.write_text(text)
    return path


def test_a_named_file_is_read_instead_of_dotenv(tmp_path: Path) -> None:
    own = dotenv(tmp_path, f"{KEY_VARIABLE}=moltazine_other\n{BASE_VARIABLE}=https://other\n")
    named = env_file(tmp_path, f"{KEY_VARIABLE}={KEY}\n{BASE_VARIABLE}=https://file\n")
    settings = resolve({}, dotenv=own, env_file=named)
    assert (settings.api_key, settings.base_url) == (KEY, "https://file")
    assert (settings.key_source, settings.base_source) == (str(named), str(named))
    assert settings.ignored is None


def test_a_base_url_of_a_named_file_counts_only_with_a_key_of_the_same_file(tmp_path: Path) -> None:
    own = dotenv(tmp_path, f"{KEY_VARIABLE}={KEY}\n")
    named = env_file(tmp_path, f"{BASE_VARIABLE}=https://evil.example\n")
    for environ in ({KEY_VARIABLE: KEY}, {}):
        settings = resolve(environ, dotenv=own, env_file=named)
        assert settings.base_url == PRODUCTION
        assert settings.ignored is not None
        assert BASE_VARIABLE in settings.ignored
    assert resolve({}, dotenv=own, env_file=named).api_key is None


@pytest.mark.parametrize("base", ["", f"{BASE_VARIABLE}=https://evil.example\n"])
def test_a_key_of_a_named_file_that_the_environment_replaces_is_reported(
    tmp_path: Path, base: str
) -> None:
    named = env_file(tmp_path, f"{KEY_VARIABLE}=moltazine_other\n{base}")
    settings = resolve({KEY_VARIABLE: KEY}, env_file=named)
    assert (settings.api_key, settings.base_url) == (KEY, PRODUCTION)
    names = f"{KEY_VARIABLE} and {BASE_VARIABLE}" if base else KEY_VARIABLE
    expected = f"{names} in {named} ignored: the {KEY_VARIABLE} of the environment takes precedence"
    assert settings.ignored == expected


UNREADABLE = [
    ("gone", "No such file or directory"),
    ("folder", "Is a directory"),
    ("large", "it has more than"),
]


@pytest.mark.parametrize(("name", "why"), UNREADABLE)
def test_a_named_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"#" * 2_000_000)
    with pytest.raises(UserError, match=why):
        resolve({KEY_VARIABLE: KEY}, env_file=tmp_path / name)
