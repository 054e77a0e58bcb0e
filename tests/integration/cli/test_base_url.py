"""A base URL that is not a gateway's is the error, and not the manifest."""

import pytest

from tests.harness.commands import Cli, answering

HTML = ("text/html", b"<html><body><h1>Not Found</h1></body></html>")
JSON = ("application/json", b'{"message": "no route matches", "status": 404}')
OTHER_CODE = (
    "application/json",
    b'{"success": false, "code": "NOT_FOUND", "error": "no such page"}',
)


@pytest.mark.parametrize("answer", [HTML, JSON, OTHER_CODE], ids=["html", "json", "other-code"])
@pytest.mark.parametrize(
    "command", [("plan", "fox.yaml"), ("run", "fox.yaml", "--yes"), ("credits",)]
)
def test_an_address_that_is_not_a_gateways_is_named(
    lonely_cli: Cli, answer: tuple[str, bytes], command: tuple[str, ...]
) -> None:
    lonely_cli.write("fox")
    with answering(404, *answer) as url:
        done = lonely_cli(
            *command, "--api-base", url, MOLTAZINE_API_KEY="moltazine_secret", COLUMNS="200"
        )
    assert done.code == 2, done.err
    path = "/api/v1/credits" if command == ("credits",) else "/api/v1/workflows"
    assert (
        f"{url} is not the base URL of a Crucible gateway: there is no {path} below it" in done.err
    )
    assert "give the gateway's base URL without /api/v1" in done.err
    assert "there is no workflow" not in done.err


@pytest.mark.parametrize(("answer", "what"), [(HTML, "a web page"), (JSON, "JSON of another form")])
def test_an_address_that_answers_200_and_is_not_a_gateways_is_named(
    lonely_cli: Cli, answer: tuple[str, bytes], what: str
) -> None:
    lonely_cli.write("fox")
    with answering(200, *answer) as url:
        done = lonely_cli(
            "run",
            "fox.yaml",
            "--yes",
            "--api-base",
            url,
            MOLTAZINE_API_KEY="moltazine_secret",
            COLUMNS="200",
        )
    path = "/api/v1/workflows/zimage-base/metadata"
    assert done.code == 2, done.err
    assert f"{url} is not the base URL of a Crucible gateway: {path} below it is {what}" in done.err
    assert not (lonely_cli.cwd / "outputs").exists()


@pytest.mark.parametrize("path", ["/api", "/api/v1"])
def test_a_base_url_with_a_part_of_the_apis_path_is_named_and_not_the_manifest(
    cli: Cli, gateway: str, path: str
) -> None:
    cli.write("fox")
    done = cli("plan", "fox.yaml", "--api-base", gateway + path, COLUMNS="200")
    assert done.code == 2
    assert f"{gateway}{path} is not the base URL of a Crucible gateway" in done.err
    assert "there is no workflow" not in done.err
    doctor = cli("doctor", "--api-base", gateway + path, COLUMNS="200")
    assert "give the gateway's base URL without /api/v1" in doctor.out


def test_a_workflow_that_a_gateway_does_not_have_is_still_a_problem_of_the_manifest(
    cli: Cli,
) -> None:
    cli.write("fox", "- {name: fox, prompt: x, workflow: nope}")
    done = cli("plan", "fox.yaml", COLUMNS="200")
    assert done.code == 2
    assert "there is no workflow 'nope'" in done.err
    assert "base URL" not in done.err
