"""The table of error codes holds all that the package gives, and nothing that it doesn't."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible_batch.core.retry_rule import HOPELESS_CODES
from crucible_batch.error_codes import CODES, HTTP, Topic, find_code
from crucible_batch.errors import CrucibleBatchError, ExitCode
from tests.harness.features import deleted_codes

PACKAGE = Path(__file__).parents[2] / "crucible_batch"
# The sandbox plays the gateway: its codes are the gateway's.
FILES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if "sandbox" not in path.parts and path.name != "error_codes.py"
)
NAMES = {code.name for code in CODES}
SENT = {code.name for code in CODES if code.topic is Topic.SENT}

# The codes of the contract's failures, by operation and status. 400 has no code of its own there.
CONTRACT = {
    ("any", 401): "UNAUTHORIZED",
    ("any", 500): "INTERNAL_ERROR",
    ("GET /workflows/{workflow_id}/metadata", 404): "WORKFLOW_NOT_FOUND",
    ("POST /assets", 402): "INSUFFICIENT_CREDITS",
    ("GET /assets/{asset_id}", 404): "ASSET_NOT_FOUND",
    ("DELETE /assets/{asset_id}", 404): "ASSET_NOT_FOUND",
    ("POST /generate", 402): "INSUFFICIENT_CREDITS",
    ("POST /generate", 404): "WORKFLOW_NOT_FOUND",
    ("GET /jobs/{job_id}", 404): "JOB_NOT_FOUND",
}
A_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")

# What looks like a code of ours and is none.
OTHERS = {
    "MOLTAZINE_API_KEY", "CRUCIBLE_API_BASE", "MALLOC_ARENA_MAX",  # variables of the environment
    "CRUCIBLE_BATCH_SCHEDULED_AT", "CRUCIBLE_BATCH_KUBERNETES_JOB", "CRUCIBLE_BATCH_ACCOUNTS",
    "CRUCIBLE_BATCH_METRICS_TEXTFILE", "CRUCIBLE_BATCH_SHARD",
    "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX",
    "GOOGLE_APPLICATION_CREDENTIALS", "CRUCIBLE_BATCH_ALLOW_COMMANDS", "XDG_STATE_HOME",
    "WAYLAND_DISPLAY", "GITHUB_STEP_SUMMARY",
    # Names that are loaded when they are first used.
    "DEFAULT_MAX_MANIFEST_BYTES", "MAX_BYTES", "MAX_PIXELS",
    "HINT_NOT_A_GATEWAY", "LISTED_AFTER_S",
    "RUN_DIR",  # a metavar
    "NSFW_REJECTED",  # an example of what a gateway may send
    "IDEMPOTENCY_KEY_REUSED",  # a gateway's own, which gets a hint of ours
}  # fmt: skip


def _texts(node: ast.AST, constants: dict[str, str]) -> Iterator[str]:
    """What an expression can come to: its strings, names of constants resolved, a placeholder for
    what is filled in.
    """
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) if name in constants:
            yield constants[name]
        case ast.BoolOp(values=operands):
            for operand in operands:
                yield from _texts(operand, constants)
        case ast.IfExp(body=one, orelse=other):
            yield from [*_texts(one, constants), *_texts(other, constants)]
        case ast.JoinedStr(values=parts):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "<status>" for part in parts
            )
        case _:
            pass


def _constants(tree: ast.AST) -> dict[str, str]:
    assert isinstance(tree, ast.Module)
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _given(nodes: list[ast.AST], constants: dict[str, str]) -> Iterator[str]:
    """Yield what stands where a code is given: ``code = ``, ``code=``, and the first argument of
    what takes one.
    """
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="code" | "fallback")], value=value)
                | ast.keyword(arg="code", value=value)
            ):
                yield from _texts(value, constants)
            case ast.Call(func=ast.Name(id="ErrorInfo" | "OutputError"), args=[first, *_]):
                yield from _texts(first, constants)
            case ast.Call(func=ast.Attribute(attr="blame"), args=[first, *_]):
                yield from _texts(first, constants)
            case _:
                pass


def _suspects(nodes: list[ast.AST]) -> set[str]:
    """Return every string that looks like a code of two words, wherever it stands but in lists of
    names and codes."""
    listed = {
        id(inner)
        for node in nodes
        if (
            isinstance(node, ast.Assign)
            and getattr(node.targets[0], "id", "") in {"__all__", "HOPELESS_CODES"}
        )
        for inner in ast.walk(node)
    }
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and id(node) not in listed and isinstance(node.value, str)
        if "_" in node.value and A_CODE.fullmatch(node.value)
    }


@pytest.fixture(scope="module")
def nodes() -> dict[Path, list[ast.AST]]:
    """All nodes of each module, its own first."""
    return {path: list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))) for path in FILES}


@pytest.fixture(scope="module")
def constants(nodes: dict[Path, list[ast.AST]]) -> dict[str, str]:
    """Constants that hold a code, whichever module has them: they are imported under their own
    names.
    """
    found = {
        name: text for of_file in nodes.values() for name, text in _constants(of_file[0]).items()
    }
    return {name: text for name, text in found.items() if A_CODE.fullmatch(text)}


@pytest.fixture(scope="module")
def given(nodes: dict[Path, list[ast.AST]], constants: dict[str, str]) -> set[tuple[str, str]]:
    return {
        (path.name, text) for path, of_file in nodes.items() for text in _given(of_file, constants)
    }


@pytest.fixture(scope="module")
def suspects(nodes: dict[Path, list[ast.AST]]) -> set[tuple[str, str]]:
    return {(path.name, text) for path, of_file in nodes.items() for text in _suspects(of_file)}


def test_every_code_that_is_given_is_in_the_table(given: set[tuple[str, str]]) -> None:
    codes = {
        (path, text) for path, text in given if A_CODE.fullmatch(text.replace("<status>", "0"))
    }
    assert len({text for _, text in codes}) > 35  # it finds them where they are
    missing = {(path, text) for path, text in codes if text not in NAMES}
    assert missing == set(), "add them to error_codes.py, then: make reference"


def test_whatever_looks_like_a_code_is_in_the_table(suspects: set[tuple[str, str]]) -> None:
    codes = {
        (path, text) for path, text in suspects if not text.startswith("OTEL_")
    }  # OpenTelemetry's variables
    missing = {
        (path, text) for path, text in codes if find_code(text) is None and text not in OTHERS
    }
    assert missing == set(), (
        "codes: add them to error_codes.py; anything else: add it to OTHERS here"
    )


def test_every_code_of_the_table_is_given(
    given: set[tuple[str, str]], suspects: set[tuple[str, str]], constants: dict[str, str]
) -> None:
    used = {text for _, text in given | suspects} | set(constants.values()) | deleted_codes()
    assert NAMES - SENT - used == set(), (
        "nothing gives these codes. The code of a feature is that of an exception of errors.py, or"
        " a constant there, or in CODES of tests/harness/features.py: it stays in the table when"
        " the feature is deleted"
    )


def test_the_gateways_codes_are_those_of_contract_retry_rule_and_sandbox() -> None:
    sandbox = {
        node.args[1].value
        for path in (PACKAGE / "sandbox").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "RefusedError"
        if isinstance(node.args[1], ast.Constant) and A_CODE.fullmatch(node.args[1].value)
    }
    assert {"INVALID_PARAMS", "BODY_TOO_LARGE"} <= sandbox | HOPELESS_CODES
    assert (set(CONTRACT.values()) | HOPELESS_CODES | sandbox) - NAMES == set()


def _errors(kind: type[CrucibleBatchError]) -> Iterator[type[CrucibleBatchError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _errors(below)


def test_an_error_exits_as_the_table_says() -> None:
    import crucible_batch.api
    import crucible_batch.cli  # noqa: F401 - so that all errors are there

    for kind in _errors(CrucibleBatchError):
        if not kind.__module__.startswith("crucible_batch."):
            continue
        code = find_code(kind.code)
        assert code is not None, kind
        if kind.code not in {"ERROR", "USAGE"}:
            assert kind.exit_code in code.exit_codes, kind


def test_an_entry_is_whole() -> None:
    assert len(NAMES) == len(CODES)
    known = {int(code) for code in ExitCode} | {70}
    for code in CODES:
        assert set(code.exit_codes) <= known
        assert 0 not in code.exit_codes
        assert code.meaning.endswith(".")
        assert code.what_to_do.endswith(".")


def test_a_status_is_one_of_its_family() -> None:
    assert find_code("HTTP_503") == find_code(HTTP)
    assert find_code("HTTP_5031") is None
    assert find_code("http_503") is None
