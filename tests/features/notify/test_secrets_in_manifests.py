"""An address or a secret that is written into a manifest is refused and shown nowhere."""

import pytest

from tests.harness.commands import Cli


@pytest.mark.parametrize(
    "text",
    [
        'notify:\n  - on: [success]\n    heartbeat: "https://hc-ping.com/CANARY"\n',
        "notify:\n  - on: [success]\n    apprise:\n      https://hc-ping.com/CANARY\n",
        "notify: [{on: [success], heartbeat: 'https://hc-ping.com/CANARY', promt: a}]\n",
        "notify: [{on: [success], heartbeat:https://hc-ping.com/CANARY}]\n",
        "notify: ['secret:CANARY', {on: [https://hc-ping.com/CANARY]}]\n",
        "notify: [{on: [success], heartbeat: https://hc-ping.com/CANARY: a}]\n",
        "heartbeat: https://hc-ping.com/CANARY\n",
        "{notify: [{on: [success], secret: CANARY}], promt: a}\n",
    ],
)
def test_an_address_or_a_secret_in_a_manifest_is_not_shown(lonely_cli: Cli, text: str) -> None:
    head = (
        ""
        if text.startswith("{")
        else "version: 1\nname: n\nworkflow: w\njobs: [{name: a, prompt: b}]\n"
    )
    (lonely_cli.cwd / "secret.yaml").write_text(head + text)
    for option in ("-v", "--json"):
        done = lonely_cli("validate", "secret.yaml", option)
        assert done.code == 2
        assert "CANARY" not in done.out + done.err
        assert "secret.yaml:" in done.err
        assert "***" in done.err
