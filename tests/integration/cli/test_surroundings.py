"""What the environment and the folder of a command must not bring about."""

from __future__ import annotations

from typing import Any


def test_no_session_keys_are_logged_where_the_environment_says(cli: Any) -> None:
    """The HTTP library opens the file as soon as it is loaded, whatever is asked afterwards."""
    for command in (("workflows",), ("doctor",), ("run", cli.write("keys"))):
        assert cli(*command, SSLKEYLOGFILE=str(cli.cwd / "keys.log")).code == 0
        assert not (cli.cwd / "keys.log").exists()


def test_an_env_file_that_is_no_text_is_said(lonely_cli: Any) -> None:
    (lonely_cli.cwd / ".env").write_bytes(b"MOLTAZINE_API_KEY=moltazine_\xff\n")
    done = lonely_cli("credits")
    assert (done.code, ".env can't be read: it is not UTF-8" in done.err) == (2, True)
