"""Table of this package's own error codes, with their meaning, exit code and remedy.

Codes sent by the gateway aren't listed; they are shown unchanged, with the gateway's message and hint.
``docs/errors.md`` is generated from this table, and ``crucible-batch explain CODE`` prints an entry of it.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from crucible_batch.errors import ExitCode

HTTP = "HTTP_<status>"
"""The only family of codes: an error response without a readable code."""
BUG_EXIT_CODE = 70
"""The exit code after a bug: EX_SOFTWARE of sysexits.h, not one of the documented codes."""

_OF_A_STATUS = re.compile(r"HTTP_[1-5]\d\d", re.ASCII)


class Topic(enum.StrEnum):
    """The subject of an error code."""

    COMMAND = "The command and what it was given"
    MACHINE = "This machine"
    GATEWAY = "The key and the gateway"
    RUN = "A run that stopped"
    JOB = "A job"
    OUTPUT = "An output"


@dataclass(frozen=True, slots=True)
class Code:
    """An error code. The command's exit code is one of ``exit_codes``, unless a more severe error happened too."""

    name: str
    topic: Topic
    exit_codes: tuple[int, ...]
    meaning: str
    what_to_do: str


_BAD, _FAILED, _STOPPED = (ExitCode.USER_ERROR,), (ExitCode.SOME_FAILED,), (ExitCode.STOPPED,)
_KEY, _CREDITS, _DIFFERENCE = (ExitCode.KEY_REFUSED,), (ExitCode.OUT_OF_CREDITS,), (ExitCode.DIFFERENCE,)
_SIGNALS = (ExitCode.SIGINT, ExitCode.SIGTERM)
_AGAIN = "Run the same command again"


def _of(topic: Topic, *rows: tuple[str, tuple[int, ...], str, str]) -> tuple[Code, ...]:
    return tuple(Code(name, topic, exit_codes, meaning, todo) for name, exit_codes, meaning, todo in rows)


_OF_THE_COMMAND = _of(
    Topic.COMMAND,
    ("USAGE", _BAD, "The command line, an option or a file named by it can't be used.",
     "Correct it; the command's --help has the options."),
    ("INVALID_MANIFEST", _BAD, "The manifest has problems. Each is shown with its place, and nothing was spent.",
     "Correct them all; crucible-batch validate checks again without a key."),
    ("INVALID_PLAN", _BAD, "The saved plan was cut short or edited, or is none.",
     "Make it anew: crucible-batch plan MANIFEST -o plan.json."),
    ("STALE_PLAN", _BAD, "What the saved plan was made of has moved since; each move is named, and nothing was spent.",
     "Look at the moves, and make the plan anew if they are meant."),
    ("RUN_DIRECTORY", _BAD, "The directory belongs to another manifest, run id or account, or no run wrote to it.",
     "Name the directory that the run wrote to, or another --out-dir or --run-id."),
    ("CONSENT_NEEDED", _BAD, "There is no budget, no --yes, and no terminal to ask at.",
     "Give --budget N or set budget.credits in the manifest; --yes starts without a limit."),
    ("RUN_BUSY", (ExitCode.BUSY,), "Another run is at work in this run directory; the message says which.",
     "Wait for it, or end it with Ctrl-C; its journal is taken up by the next run."),
    ("INTERRUPTED", _SIGNALS, "Ctrl-C, SIGTERM or SIGHUP came.", f"{_AGAIN}: it goes on where it stopped."),
    ("JOBS_NOT_DONE", (ExitCode.SOME_FAILED, ExitCode.OUT_OF_CREDITS, ExitCode.STOPPED),
     "The run has ended and not every job succeeded.",
     "The report has the error of each job; --retry-failed tries failed ones again."),
    ("DIFFERENT", _DIFFERENCE, "verify found outputs that aren't as they were saved.",
     "crucible-batch verify RUN_DIR --fix downloads them again, for no credits."),
    ("DIFFERENCE", _DIFFERENCE, "audit found a difference between our books and the gateway's ledger.",
     "Ask the gateway's operator about the job and asset ids that it names."),
    ("DOCTOR", (ExitCode.KEY_REFUSED, ExitCode.STOPPED), "doctor found something that keeps a run from working.",
     "See to the finding that is marked ✗."),
    ("BUG", (BUG_EXIT_CODE,), "A mistake in crucible-batch itself. What a run has journalled is safe.",
     "Run it again with -v, and report it with the traceback."),
    ("ERROR", _STOPPED, "Something failed that has no code of its own.", "See the message and its hint."),
)  # fmt: skip

_OF_THE_MACHINE = _of(
    Topic.MACHINE,
    ("DISK", _STOPPED, "A file or a stream could not be read or written.",
     f"See to the disk: space, rights, mounts. {_AGAIN}."),
    ("DISK_NEARLY_FULL", _STOPPED, "The disk has little room left, so nothing more was bought; what was is saved.",
     f"Make room. {_AGAIN}."),
    ("JOURNAL", _STOPPED, "The journal can't be read or written.",
     (f"See to the disk. {_AGAIN}. A damaged file: restore it from a copy, or move .crucible away; receipts.jsonl then "
      "restores what was bought, and without that file --recover does.")),
    ("REPORT", _STOPPED, "The run has ended and its report can't be written. The journal holds all of it.",
     f"See to the disk. {_AGAIN}; where no job was left, crucible-batch report RUN_DIR is enough."),
    ("RESULTS", _STOPPED, "An output can't be written.",
     f"See to the disk. {_AGAIN}: what is bought is downloaded for no credits."),
)  # fmt: skip

_OF_THE_GATEWAY = _of(
    Topic.GATEWAY,
    ("NO_API_KEY", _KEY, "There is no API key in the environment, nor in .env here.",
     "Set MOLTAZINE_API_KEY; crucible-batch demo needs none."),
    ("NO_KEY", _KEY, "The client was made with an empty API key.", "Pass it the key."),
    ("MALFORMED_KEY", _KEY, "The API key holds characters that no key has.",
     "Copy it again, without quotes and line breaks; crucible-batch doctor says where it was found."),
    ("NO_ANSWER", _STOPPED, "The gateway could not be reached, or its answer broke off, in all tries.",
     f"Check the network and the base URL: crucible-batch doctor. {_AGAIN}: a submit is sent under its old key."),
    ("BAD_ANSWER", _STOPPED, "An answer came that is none of the contract's.",
     "See that the base URL is a Crucible gateway; else report it with the request id."),
    ("BAD_REQUEST", (ExitCode.SOME_FAILED, ExitCode.STOPPED), "A request that the contract doesn't allow; not sent.",
     "Correct what the message names: an id, a parameter that JSON has no form for."),
    ("UNSAFE_URL", (ExitCode.SOME_FAILED, ExitCode.STOPPED),
     "The gateway gave a link that leads where no storage is; nothing was sent there.",
     "Report it to the gateway's operator. For storage of your own in an inner network: --storage-host HOST."),
    (HTTP, (ExitCode.KEY_REFUSED, ExitCode.STOPPED),
     "The gateway, or something in front of it, answered with this status and no code.",
     f"5xx and 429: {_AGAIN.lower()} later. 401: check the key. 3xx: give the final address as the base URL."),
)  # fmt: skip

_OF_A_RUN = _of(
    Topic.RUN,
    ("BUDGET_EXHAUSTED", _CREDITS, "The next job doesn't fit into what is left of the budget.",
     f"Raise the budget. {_AGAIN}: what is done is not paid again."),
    ("INSUFFICIENT_CREDITS", _CREDITS, "The account has too few credits for the next job.",
     f"Top the account up. {_AGAIN}."),
    ("PRICE_ABOVE_CEILING", _CREDITS, "Jobs of a workflow cost more than max_credits_per_job.",
     f"Raise it if that is what you want to pay. {_AGAIN}."),
    ("PRICE_ROSE", _CREDITS, "A price rose after a job's credits were held, and the run ended before it had more.",
     f"See what the budget and the account have left. {_AGAIN}."),
    ("DEADLINE", _STOPPED, "The --deadline has passed, before the run began or in the middle of it.",
     f"{_AGAIN}: it goes on where it stopped."),
    ("NOT_REMEMBERED", _STOPPED, "run --recover met a job that the gateway didn't know; nothing else was bought.",
     "To buy what is missing, run without --recover."),
)  # fmt: skip

_OF_A_JOB = _of(
    Topic.JOB,
    ("JOB_FAILED", _FAILED, "The gateway reports the job as failed and says no more. Its credits are refunded.",
     "--retry-failed tries it again."),
    ("JOB_TIMEOUT", _STOPPED, "The job has not ended within --job-timeout. Its credits stay held.",
     f"{_AGAIN} later: it is looked at, not bought again."),
    ("LOST_BY_GATEWAY", _FAILED, "The gateway no longer knows a job that it accepted. Its credits stay spent.",
     "Ask its operator, with the job id from the report; it is never bought again by itself."),
    ("KEY_MAY_BE_FORGOTTEN", _STOPPED, "A submit was never answered, and the gateway may have forgotten its key.",
     "Look for the job with crucible-batch audit; --resubmit-unknown sends it again."),
    ("IMPOSSIBLE_HISTORY", _STOPPED, "The journal holds an event that can't have happened to the job.",
     "Restore the run directory from a copy; or look for it with crucible-batch audit, then use another --run-id."),
    ("JOB_OF_ANOTHER_KEY", _STOPPED, "A submit was answered with a job that belongs to another submit of ours.",
     "Ask the gateway's operator, with both keys from the report. Its credits stay held, and nothing is saved for it."),
    ("WORKFLOW_NOT_FOUND", _FAILED, "The gateway has no such workflow any more; its other jobs aren't asked for.",
     "crucible-batch workflows lists those that there are."),
    ("ASSET_NOT_READY", _FAILED, "An input image was uploaded and did not become ready. The job was not bought.",
     "--retry-failed tries it again."),
    ("INPUT_CHANGED", _FAILED, "An input image has changed since it was planned, or is gone.",
     "Leave the images alone while a run goes on, and run the same manifest again."),
)  # fmt: skip

_OF_AN_OUTPUT = _of(
    Topic.OUTPUT,
    ("OUTPUT_UNAVAILABLE", _FAILED, "The job succeeded and is paid for, and its output can't be had.",
     f"{_AGAIN}: it is downloaded for no credits, and never bought again."),
    ("OUTPUT_EXISTS", _FAILED, "Another file stands where the output goes; it is never overwritten.",
     f"Move it away. {_AGAIN}: the picture is paid for, and fetched for no credits."),
    ("OUTPUT_CHANGED", (ExitCode.SOME_FAILED, ExitCode.DIFFERENCE), "Other bytes come now than were saved.",
     "Keep what you have; or delete the file and run the manifest again, for no credits."),
    ("OUTPUT_MISSING", _FAILED, "The gateway lists no link for the output.", f"{_AGAIN} later."),
    ("OUTPUT_TRUNCATED", _FAILED, "The download broke off, in all tries.", f"{_AGAIN}."),
    ("OUTPUT_NO_PICTURE", _FAILED, "What came is no picture that can be opened whole.", f"{_AGAIN}."),
    ("OUTPUT_TOO_LARGE", _FAILED, "The output has more bytes than --max-output-size allows.",
     f"{_AGAIN}, with a larger --max-output-size if that is what you want."),
    ("OUTPUT_TOO_MANY_PIXELS", _FAILED, "The output's header promises more pixels than --max-pixels allows.",
     f"{_AGAIN}, with a larger --max-pixels if that is what you want."),
    ("OUTPUT_REPLACED", _DIFFERENCE, "verify found a link or a directory where the output was saved.",
     "See to it by hand, then verify again."),
    ("UNSAVED", _DIFFERENCE, "audit found that the gateway lists outputs that were never saved.",
     "crucible-batch verify RUN_DIR --fix downloads them, for no credits."),
    ("OUTPUT_MISPLACED", (ExitCode.SOME_FAILED, ExitCode.DIFFERENCE),
     "The journal has the output where the plan doesn't put it, or where none may stand; nothing is written there.",
     "Move away what stands there, if anything, and run the manifest again: the output is fetched for no credits."),
    ("OUTPUT_UNREADABLE", _DIFFERENCE, "verify can't read the output.", "See to its rights, then verify again."),
)  # fmt: skip

CODES = (*_OF_THE_COMMAND, *_OF_THE_MACHINE, *_OF_THE_GATEWAY, *_OF_A_RUN, *_OF_A_JOB, *_OF_AN_OUTPUT)

_BY_NAME = {code.name: code for code in CODES}


def find_code(name: str) -> Code | None:
    """Return the entry of a code; for one such as ``HTTP_503``, that of the family. None if it isn't in the table."""
    return _BY_NAME.get(HTTP if _OF_A_STATUS.fullmatch(name) else name)
