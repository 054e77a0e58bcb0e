"""The Dockerfile and ``compose.yaml``, in linters that know their formats. No image is built here.

``tests/verification/system/test_container.py`` runs what the image would run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")


def check(program: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    found = str(Path(sys.executable).with_name(program))
    return subprocess.run([found, *words], input=text, capture_output=True, text=True, check=False)


def test_the_dockerfile_has_no_problem_that_its_linter_knows() -> None:
    done = check("hadolint", "--failure-threshold", "style", "-", text=DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_conforms_to_its_schema(tmp_path: Path) -> None:
    words = ("--builtin-schema", "vendor.compose-spec")
    assert check("check-jsonschema", *words, str(ROOT / "compose.yaml")).returncode == 0
    planted = tmp_path / "compose.yaml"
    planted.write_text(COMPOSE.replace("read_only: true", "readonly: true"))
    assert check("check-jsonschema", *words, str(planted)).returncode == 1


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


@pytest.mark.parametrize("name", services())
def test_a_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert set(service.get("cap_add", ())) <= {"AUDIT_WRITE", "SETGID", "SETUID"}, (
        "cron starts runs as another user"
    )
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert "ports" not in service, "nothing is published"
    assert set(service.get("environment", ())) <= {"TZ"}, (
        "the key is a secret, which docker inspect does not show"
    )


def test_what_the_image_copies_is_not_ignored_and_secrets_are() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    copied = [
        words.split()
        for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)
    ]
    sources = {source for *each, _ in copied for source in each}
    assert rules[0] == "*", "everything is ignored that is not named"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == sources
    assert {"**/.env", "**/__pycache__"} == {rule for rule in rules[1:] if not rule.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_runs_as_a_numeric_user_and_names_no_registry() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, flags=re.MULTILINE) == ["10001:10001"]
    assert "http" not in DOCKERFILE


def test_the_base_has_a_digest_and_what_is_installed_has_hashes() -> None:
    base, *others = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert re.fullmatch(r"python:3\.13-slim@sha256:[0-9a-f]{64}", base)
    assert set(others) == {"base"}
    commands = DOCKERFILE.replace("\\\n", "")
    installs = re.findall(r"pip (?:install|wheel) ([^&\n]+)", commands)
    assert len(installs) == 4
    for words in installs:
        assert "--no-deps" in words
        assert ("--require-hashes" in words) == ("requirements/" in words)
        assert "requirements/" in words or "/wheels" in words, "our own wheel, or a lock"
