"""A proxy's address is checked before anything is sent, and its password is printed nowhere."""

from __future__ import annotations

import pytest

from tests.harness.case_table import each_case
from tests.harness.commands import Cli

PASSWORD = "hunter2-canary"
FAULTY = [
    f"user:{PASSWORD}@relay.test:3128",
    f"user:{PASSWORD}@relay.test",
    f"//user:{PASSWORD}@relay.test:3128",
    f"http:/user:{PASSWORD}@relay.test:3128",
    f"http:user:{PASSWORD}@relay.test:3128",
    f"ftp://user:{PASSWORD}@relay.test:3128",
    f"http://user:{PASSWORD}@relay.test:port",
    f"http://user:{PASSWORD}@relay.test:99999",
    f"http://user:{PASSWORD}@[::1",
    f"http://user:{PASSWORD}@",
]


@each_case("proxy", FAULTY)
@each_case("options", [(), ("--json",), ("-v",)])
def test_a_faulty_proxy_url_is_exit_2_and_its_password_is_not_printed(
    cli: Cli, proxy: str, options: tuple[str, ...]
) -> None:
    done = cli("credits", "--proxy", proxy, *options)
    assert done.code == 2, done.err
    assert "proxy" in done.out + done.err
    assert "--json" not in options or "http://proxy.example:3128" in done.envelope["error"]["hint"]
    assert PASSWORD not in done.out + done.err


@each_case("proxy", FAULTY)
def test_a_run_with_a_faulty_proxy_url_does_not_begin(cli: Cli, proxy: str) -> None:
    done = cli(
        "run",
        cli.write("began"),
        "--wait-for-gateway",
        "0",
        "--proxy",
        proxy,
        "--log-file",
        "run.log",
    )
    assert done.code == 2, done.err
    assert not (cli.cwd / "outputs").exists()
    written = [
        path
        for path in cli.cwd.rglob("*")
        if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert (PASSWORD in done.out + done.err, written) == (False, [])


@pytest.mark.parametrize(
    "words",
    [
        ("credits",),
        pytest.param(("credits", "--json", "-v"), marks=pytest.mark.slow),
        pytest.param(
            ("run", "silent.yaml", "--wait-for-gateway", "0", "-v"), marks=pytest.mark.slow
        ),
        pytest.param(("doctor", "-v"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_the_password_of_a_proxy_that_does_not_answer_is_not_printed(
    cli: Cli, words: tuple[str, ...]
) -> None:
    cli.write("silent")
    done = cli(*words, "--proxy", f"http://user:{PASSWORD}@127.0.0.1:9")
    assert done.code not in {0, 70}, done.err
    written = [
        path
        for path in cli.cwd.rglob("*")
        if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert (PASSWORD in done.out + done.err, written) == (False, [])
