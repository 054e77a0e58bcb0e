"""A run that is skipped since another is active, and its notifications."""

from __future__ import annotations

import pytest

from crucible_batch.journal import lock_run_directory
from tests.features.notify.test_notify_command import ADDRESS, HEART, receiving
from tests.harness.commands import Cli


@pytest.mark.parametrize(("choice", "code", "paths"), [("skip", 0, []), ("fail", 6, ["/6"])])
def test_a_run_that_is_skipped_is_no_failure(
    cli: Cli, choice: str, code: int, paths: list[str]
) -> None:
    name = f"overlap-{choice}"
    cli.write(name, head=f"notify: [{HEART}]\n")
    directory = cli.cwd / "outputs" / name / "default"
    directory.mkdir(parents=True)
    with receiving() as receiver, lock_run_directory(directory):
        done = cli("run", f"{name}.yaml", "--if-running", choice, **receiver.environment)
    assert done.code == code, done.err
    assert [
        path.partition("?")[0].removeprefix(f"/{ADDRESS}") for path, _, _ in receiver.requests
    ] == paths
