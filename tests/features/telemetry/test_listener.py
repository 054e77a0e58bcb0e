"""The endpoint of an active run."""

from __future__ import annotations

import socket
import threading

import httpx
import pytest

from crucible_batch.errors import UserError
from crucible_batch.features.telemetry.figures import RunFigures
from crucible_batch.features.telemetry.metrics import read_address, serving
from tests.features.telemetry.messages import began, whole_job
from tests.harness.case_table import each_case


@each_case(
    "text, address",
    [
        ("9464", ("127.0.0.1", 9464)), (":9464", ("127.0.0.1", 9464)),
        ("127.0.0.1:1", ("127.0.0.1", 1)), ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("[::1]:9464", ("::1", 9464)), (" localhost:80 ", ("localhost", 80)),
    ],
)  # fmt: skip
def test_an_address_without_a_host_is_that_of_this_machine(
    text: str, address: tuple[str, int]
) -> None:
    assert read_address(text) == address


@each_case(
    "text", ["", "x", "0", "65536", "-1", "127.0.0.1", "::1:9464", "host:port", "9464/", "²"]
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not valid"):
        read_address(text)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_the_figures_of_the_moment_are_served_and_the_end_of_the_run_ends_it() -> None:
    figures, port = RunFigures(1.0), free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    threads = threading.active_count()
    with serving(str(port), "night", figures), httpx.Client(trust_env=False) as client:
        assert 'crucible_batch_running{manifest="night"} 1.0' in client.get(url).text
        for message in (began(1, 3), *whole_job("a")):
            figures.notify(message)
        text = client.get(url).text
    assert 'crucible_batch_jobs{manifest="night",outcome="succeeded"} 1.0' in text
    assert 'crucible_batch_jobs{manifest="night",outcome="pending"} 2.0' in text
    assert "python_info" not in text, "the registry has nothing else"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    assert threading.active_count() == threads


def test_it_listens_on_this_machine_only() -> None:
    port = free_port()
    with (
        serving(str(port), "night", RunFigures(1.0)),
        socket.create_server(
            ("127.0.0.2", port)
        ) as other,  # it would be taken if all addresses were listened on
    ):
        assert other.getsockname()[0] == "127.0.0.2"


def test_a_port_in_use_and_an_unknown_host_are_errors() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(UserError, match="Address already in use"),
            serving(address, "night", RunFigures(1.0)),
        ):
            pytest.fail("it was served")
    with (
        pytest.raises(UserError, match="can't be served"),
        serving("198.51.100.7:9464", "night", RunFigures(1.0)),
    ):
        pytest.fail("it was served")
