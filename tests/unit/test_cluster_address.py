"""The address of a cluster's database: read from text, and never shown with its password."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys

import pytest

from crucible_batch.cluster import ClusterAddress, require_extra
from crucible_batch.cluster import address as address_module
from crucible_batch.errors import ClusterSetupError
from crucible_batch.secret_text import registered_secrets
from tests.case_table import each_case


@each_case(
    "text, shown",
    [
        ("postgresql://batch:pa55-w0rd@db.test:6432/runs", "db.test:6432/runs"),
        ("postgresql://batch:pa55%2Dw0rd@db.test/runs?sslmode=require", "db.test:5432/runs"),
        ("host=db.test dbname=runs user=batch password=pa55-w0rd", "db.test:5432/runs"),
        ("dbname=runs password=pa55-w0rd", "the default host:5432/runs"),
    ],
)
def test_the_password_is_not_part_of_what_is_shown(text: str, shown: str) -> None:
    address = ClusterAddress.parse(text)
    assert address.shown == shown
    assert "w0rd" not in repr(address) + str(address)
    assert "pa55-w0rd" in registered_secrets()


@each_case("name", ["password", "sslpassword", "passfile"])
def test_each_part_that_gives_access_is_redacted_by_itself(name: str) -> None:
    ClusterAddress.parse(f"host=db.test {name}=canary-of-{name}")
    assert f"canary-of-{name}" in registered_secrets()


def test_every_connection_has_limits_and_our_schema() -> None:
    dsn = ClusterAddress.parse("postgresql://db.test/runs?options=-c%20jit%3Doff").dsn
    for part in (
        "-c jit=off", "search_path=crucible_batch", "statement_timeout=5000",
        "idle_in_transaction_session_timeout=5000", "tcp_user_timeout=10000", "connect_timeout=10",
    ):  # fmt: skip
        assert part in dsn


@each_case("text", ["hunter2 not a dsn", "postgresql://u:hunter2%zz@h/d", "password=hunter2 hots=x"])
def test_an_invalid_address_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ClusterSetupError, match="is not valid") as caught:
        ClusterAddress.parse(text)
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_the_option_takes_precedence_over_the_environment() -> None:
    environ = {"CRUCIBLE_BATCH_DSN": "host=from-environment"}
    assert ClusterAddress.resolve(None, environ).shown == "from-environment:5432/"
    assert ClusterAddress.resolve("host=given", environ).shown == "given:5432/"
    with pytest.raises(ClusterSetupError, match="no cluster database") as caught:
        ClusterAddress.resolve(None, {"CRUCIBLE_BATCH_DSN": ""})
    assert caught.value.hint == "give --cluster DSN, or set CRUCIBLE_BATCH_DSN"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_module, "find_spec", lambda name: None if name == "procrastinate" else object())
    with pytest.raises(ClusterSetupError, match="not installed") as caught:
        require_extra()
    assert caught.value.hint == "install them: pip install 'crucible-batch[cluster]'"
    with pytest.raises(ClusterSetupError, match="not installed"):
        ClusterAddress.parse("host=h")


def test_the_drivers_are_loaded_only_by_what_uses_them() -> None:
    assert importlib.util.find_spec("procrastinate") is not None
    code = (
        "import sys; import crucible_batch.cluster, crucible_batch.cli.app, crucible_batch.api;"
        "print([name for name in ('psycopg', 'procrastinate') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_address_is_not_shown_after_it_was_copied() -> None:
    address = pickle.loads(pickle.dumps(ClusterAddress.parse("host=h password=hunter2")))
    assert "hunter2" not in repr(address)
