"""``--json``: lines of JSON and nothing else, the envelope last, whatever happens."""

import pytest

from tests.harness.commands import Cli, check_stream


def test_a_run_is_told_event_by_event(cli: Cli) -> None:
    cli.write("told", "- {name: fox, prompt: a fox}\n- {name: bad, prompt: nsfw}")
    done = cli("run", "told.yaml", "--json")
    assert done.code == 1
    envelope = check_stream(done, "run")
    assert done.lines[0]["type"] == "run_began"
    assert done.lines[-2]["type"] == "run_ended"
    fox = [line["event"] for line in done.lines if line.get("name") == "fox"]
    assert fox == ["held", "accepted", "succeeded", "saved", "listed"]
    accepted = next(line for line in done.lines if line.get("event") == "accepted")
    assert accepted["credits"] == "2"
    assert accepted["balance"].keys() == {"budget", "spent", "held", "left"}
    assert envelope["data"]["counts"]["failed"] == 1
    assert envelope["data"]["credits"]["spent"] == "2"
    assert "1 of 2 jobs succeeded" in done.err


def test_a_plan_is_one_line(cli: Cli) -> None:
    cli.write(
        "planned",
        "- {name: fox, prompt: a fox, repeat: 3}",
        budget="{credits: 4, max_credits_per_job: 2.5}",
    )
    done = cli("plan", "planned.yaml", "--json")
    data = check_stream(done, "plan")["data"]
    assert data["states"] == {"new": 3, "in_flight": 0, "failed": 0, "done": 0}
    assert data["prices"] == [
        {
            "what": "zimage-base",
            "params": {},
            "count": 3,
            "certainty": "bounded",
            "each": "2.5",
            "total": "7.5",
            "bound": "2.5",
            "last_paid": None,
        }
    ]
    assert data["credits"]["may_exceed_budget_by"] == "0"
    assert data["credits"]["over_budget"] == "3.5"


@pytest.mark.parametrize(
    "command", [("credits",), ("workflows",), ("workflows", "qwen-edit"), ("assets",), ("doctor",)]
)
def test_what_the_gateway_says_is_json_too(cli: Cli, command: tuple[str, ...]) -> None:
    done = cli(*command, "--json")
    assert done.code == 0, done.err
    assert check_stream(done, command[0])["data"]


@pytest.mark.parametrize(
    ("args", "command", "code", "error"),
    [
        (("run", "none.yaml"), "run", 2, "INVALID_MANIFEST"),
        (("run", "none.yaml", "--budgt"), "run", 2, "USAGE"),
        (("status", "nowhere"), "status", 2, "RUN_DIRECTORY"),
        (("report", "nowhere"), "report", 2, "RUN_DIRECTORY"),
        (("credits",), "credits", 3, "NO_API_KEY"),
        (("doctor",), "doctor", 3, "DOCTOR"),
        (("credits", "--api-base", "http://example.org"), "credits", 2, "USAGE"),
    ],
)
def test_an_error_is_an_envelope_too(
    lonely_cli: Cli, gateway: str, args: tuple[str, ...], command: str, code: int, error: str
) -> None:
    key = {"MOLTAZINE_API_KEY": "k"} if "--api-base" in args else {}
    done = lonely_cli(*args, "--json", CRUCIBLE_API_BASE=gateway, **key)
    assert done.code == code
    assert check_stream(done, command)["error"]["code"] == error
