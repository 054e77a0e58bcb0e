"""The ``explain`` command: explains one error code, or lists all."""

from __future__ import annotations

import difflib

from crucible_batch.cli.command_output import CommandOutput
from crucible_batch.cli.terminal import Json, advise, say
from crucible_batch.core.redaction import clean
from crucible_batch.error_codes import BUG_EXIT_CODE, CODES, Code, Topic, find_code
from crucible_batch.errors import ExitCode, UserError


def explain(output: CommandOutput, name: str) -> None:
    """Explain one code. Raises ``UserError`` for an unknown one."""
    wanted = name.strip().upper().replace("-", "_")
    code = find_code(wanted)
    if code is None:
        raise UserError(
            f"{clean(name, 100)!r} is not in the table of error codes;"
            " the gateway may send codes that are not in it",
            hint=_advice(wanted),
        )
    output.data = _as_json(code)
    say(output.out, (wanted, "strong"), (f"   {code.topic.value.lower()}", "quiet"))
    advise(output.out, "means   ", code.meaning, indent=2)
    for number in code.exit_codes:
        meaning = "a bug in crucible-batch"
        if number != BUG_EXIT_CODE:
            meaning = ExitCode(number).meaning
        advise(output.out, "exit    ", f"{number}: {meaning}", indent=2)
    advise(output.out, "to do   ", code.what_to_do, indent=2)


def list_codes(output: CommandOutput) -> None:
    output.data = {"codes": [_as_json(code) for code in CODES]}
    widest = max(len(code.name) for code in CODES)
    for topic in Topic:
        say(output.out, (topic.value, "strong"))
        for code in (code for code in CODES if code.topic is topic):
            advise(output.out, f"{code.name:<{widest}}", code.meaning, indent=2)
    say(output.out, ("what to do  ", "label"), ("crucible-batch explain CODE", "command"))


def _advice(wanted: str) -> str:
    near = difflib.get_close_matches(wanted, [code.name for code in CODES], n=1)
    if near:
        return f"did you mean {near[0]}?"
    return (
        "read the gateway's message and hint, printed beside the code and stored in report.json"
        " (jobs[].error); its operator can look it up by the request_id there."
        " crucible-batch explain lists the known codes"
    )


def _as_json(code: Code) -> Json:
    return {
        "code": code.name,
        "topic": code.topic.name.lower(),
        "exit_codes": [int(number) for number in code.exit_codes],
        "meaning": code.meaning,
        "what_to_do": code.what_to_do,
    }
