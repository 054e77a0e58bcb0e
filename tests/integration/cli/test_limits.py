"""The limits on outputs, and the hosts of storage, from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli


@pytest.mark.parametrize(
    ("option", "limit", "code"),
    [
        ("--max-output-size", "100B", "OUTPUT_TOO_LARGE"),
        ("--max-pixels", "0.001MP", "OUTPUT_TOO_MANY_PIXELS"),
    ],
)
def test_an_output_beyond_a_limit_is_said_and_fetched_for_nothing_with_a_higher_one(
    cli: Cli, report_of: Callable[[Path], dict[str, Any]], option: str, limit: str, code: str
) -> None:
    name = f"limit{option}"
    cli.write(name)
    done = cli("run", f"{name}.yaml", option, limit)
    assert done.code == 1
    directory = cli.cwd / f"outputs/{name}/default"
    (job,) = report_of(directory)["jobs"]
    assert job["error"]["code"] == "OUTPUT_UNAVAILABLE"
    assert job["error"]["message"].startswith(code)
    assert cli("run", f"{name}.yaml").code == 0
    assert report_of(directory)["credits"]["spent"] == "2"


@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_a_manifest_beyond_its_limit_is_exit_2_and_a_higher_one_reads_it(
    cli: Cli, command: str
) -> None:
    cli.write("long")
    done = cli(command, "long.yaml", "--max-manifest-size", "100B")
    assert done.code == 2
    assert "the limit is 100" in done.err
    assert "--max-manifest-size" in done.err
    assert not (cli.cwd / "outputs").exists()
    assert cli(command, "long.yaml", "--max-manifest-size", "1MB").code == 0


def test_more_pixels_than_can_be_read_are_refused_before_anything_is_spent(cli: Cli) -> None:
    cli.write("pixels")
    done = cli("run", "pixels.yaml", "--max-pixels", "200MP")
    assert done.code == 2
    assert "max_pixels must be from 1 to 178,956,970" in done.err
    assert not (cli.cwd / "outputs").exists()


def test_a_storage_host_can_be_named_more_than_once(cli: Cli) -> None:
    cli.write("hosts")
    assert (
        cli("run", "hosts.yaml", "--storage-host", "a.corp", "--storage-host", "b.corp").code == 0
    )


@pytest.mark.parametrize("host", ["https://a.corp", "a.corp:9000", "a.corp/x", "a b", ""])
def test_what_is_not_a_storage_host_is_refused_before_anything_is_spent(
    cli: Cli, host: str
) -> None:
    cli.write("hosts")
    done = cli("run", "hosts.yaml", "--storage-host", host)
    assert (done.code, "is not a host" in done.err) == (2, True)
    assert not (cli.cwd / "outputs").exists()
