"""Table of the error codes, with their meaning, exit code and remedy.

The gateway's codes are shown unchanged, with the gateway's message and hint. The table has those
that its contract lists, those that are never retried, and those of the local sandbox; a gateway may
send others. ``docs/errors.md`` is generated from this table, and ``crucible-batch explain CODE``
prints an entry of it.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from crucible_batch.errors import NOT_DERIVED, ExitCode

HTTP = "HTTP_<status>"
"""The only family of codes: an error response without a readable code."""
BUG_EXIT_CODE = 70
"""The exit code after a bug: EX_SOFTWARE of sysexits.h, not one of the documented codes."""

_OF_A_STATUS = re.compile(r"HTTP_[1-5]\d\d", re.ASCII)


class Topic(enum.StrEnum):
    """The subject of an error code."""

    COMMAND = "The command and its input"
    MACHINE = "This machine"
    GATEWAY = "The key and the gateway"
    RUN = "A stopped run"
    JOB = "A job"
    OUTPUT = "An output"
    SENT = "Codes that the gateway sends"


@dataclass(frozen=True, slots=True)
class Code:
    """An error code.

    The command's exit code is one of ``exit_codes``, unless a more severe error happened too.
    """

    name: str
    topic: Topic
    exit_codes: tuple[int, ...]
    meaning: str
    what_to_do: str


_BAD, _FAILED, _STOPPED = (ExitCode.USER_ERROR,), (ExitCode.SOME_FAILED,), (ExitCode.STOPPED,)
_KEY, _CREDITS = (ExitCode.KEY_REFUSED,), (ExitCode.OUT_OF_CREDITS,)
_DIFFERENCE = (ExitCode.DIFFERENCE,)
_SIGNALS = (ExitCode.SIGINT, ExitCode.SIGTERM)
_AGAIN = "Run the same command again"
_ASK = "an agent has to ask the user"
"""What raises a limit on spending is the user's decision."""


def _of(topic: Topic, *rows: tuple[str, tuple[int, ...], str, str]) -> tuple[Code, ...]:
    return tuple(
        Code(name, topic, exit_codes, meaning, todo) for name, exit_codes, meaning, todo in rows
    )


_OF_THE_COMMAND = _of(
    Topic.COMMAND,
    ("USAGE", _BAD, "The command line, an option, or a file that it names is invalid.",
     "Correct it; --help of the command lists the options."),
    ("INVALID_MANIFEST", _BAD, "The manifest has problems.",
     "Correct them; crucible-batch validate checks them."),
    ("INVALID_PLAN", _BAD, "The file is not a saved plan, or it was truncated or edited.",
     "Create it again: crucible-batch plan MANIFEST -o plan.json."),
    ("STALE_PLAN", _BAD,
     ("The jobs or terms of the saved plan are not those of the manifest now. Each change is "
      "listed. Nothing was spent."),
     "Check the changes. If they are intended, create the plan again."),
    ("RUN_DIRECTORY", _BAD,
     "The directory belongs to another manifest, run id or account, or is not a run directory.",
     "Give the directory of the run, or use another --out-dir or --run-id."),
    ("RUN_PRUNED", _BAD, "The outputs of the run were deleted by prune.",
     ("Use another --run-id, which pays for its jobs; or check RUN_DIR --fix, which downloads "
      "the old outputs.")),
    ("SHARDS_OUTSTANDING", _BAD,
     "The plan was divided, and not all of its shards are merged.",
     ("Run the shards, then merge RUN_DIR. merge --abandon N returns the credits of a shard "
      "that will never run.")),
    ("SHARDS_UNKNOWN", _BAD,
     "The journal doesn't have the shards of the run directory: it was lost, or is a backup.",
     "Restore the newest journal; or, when the shards have ended, merge RUN_DIR."),
    ("NOTHING_TO_DIVIDE", _BAD,
     "No job can be divided into shards: none is new, or the budget is not enough.",
     f"Raise the budget ({_ASK}); or run the manifest."),
    ("CONSENT_NEEDED", _BAD,
     "A run without a budget and a deletion of assets need --yes, or a yes on the terminal.",
     ("run: give --budget N or set budget.credits; --yes starts without a limit. assets "
      "--delete: give --yes."
      f" For both, {_ASK}.")),
    ("BUDGET_ACCOUNT", _BAD,
     "The file of a budget account can't be used, or it has another period, time zone or gateway.",
     "Use the same ones in all manifests of the account, and a directory that all runs can write."),
    ("EARLIER_RUN", _BAD, "The manifest was run before from another folder.",
     ("Continue that run with --out-dir and the directory in the message; a new run would buy "
      "its jobs again.")),
    ("INVALID_NOTIFICATION", _BAD,
     ("A channel of notify cannot be used: a variable, file, program or extra is missing or "
      "invalid."),
     "Correct it, and check it with crucible-batch doctor MANIFEST; or use run --no-notify."),
    ("INVALID_CHECK", _BAD,
     "A program of checks cannot be run: it is missing, or was not allowed.",
     "Correct the path in the manifest; run it with --allow-command if you trust the manifest."),
    ("INVALID_AFTER", _BAD,
     "The program of after cannot be run: it is missing, or was not allowed.",
     "Correct the path in the manifest; run it with --allow-command if you trust the manifest."),
    ("CONTROL_REFUSED", _BAD,
     "A command to a run was not taken: no run is active there, or it can't do this now.",
     "The message has the reason. crucible-batch status RUN_DIR shows the state of the run."),
    ("PAUSED", _STOPPED, "The job was not submitted, since the run was paused when it ended.",
     f"{_AGAIN}: it is not paused then."),
    ("RUN_BUSY", (ExitCode.BUSY,),
     "Another run is active in this run directory or URL or, with --if-running, of this manifest.",
     "Wait until it ends, or stop it with Ctrl-C."),
    ("SPEND_LIMIT", _CREDITS,
     "The run could spend more than is left of the --allow-spend of the MCP server.",
     "Use a smaller budget; or ask the user for a higher --allow-spend."),
    ("INTERRUPTED", _SIGNALS,
     "The run was stopped by Ctrl-C, SIGTERM, SIGHUP or ctl stop.", f"{_AGAIN} to resume."),
    ("NOT_SUBMITTED", _STOPPED,
     "plan --probe uploaded the images of the job, and did not submit it.",
     "Run the shards of the plan, or the manifest."),
    ("JOBS_NOT_DONE", (ExitCode.SOME_FAILED, ExitCode.OUT_OF_CREDITS, ExitCode.STOPPED),
     "The run ended, and some jobs did not succeed.",
     "The report has the errors; --retry-failed runs failed jobs again."),
    ("DIFFERENCE", _DIFFERENCE,
     "check found a difference: an output on disk, one that was never saved, or the ledger.",
     ("crucible-batch check RUN_DIR --fix restores outputs. Report job and asset ids to the "
      "gateway's operator.")),
    ("DOCTOR", (ExitCode.KEY_REFUSED, ExitCode.STOPPED),
     "doctor found a problem that prevents runs.",
     "Fix the findings that are marked ✗."),
    ("BUG", (BUG_EXIT_CODE,), "A bug in crucible-batch. Events that are in the journal are safe.",
     "Run the command again with -v and report the traceback."),
    ("ERROR", _STOPPED, "An error without a code of its own.", "Follow the message and its hint."),
)  # fmt: skip

_OF_THE_MACHINE = _of(
    Topic.MACHINE,
    ("DISK", _STOPPED, "A file or stream cannot be read or written.",
     f"Check the disk: free space, permissions, mounts. {_AGAIN}."),
    ("OUT_OF_RESOURCES", _STOPPED, "There is not enough memory, or no thread can be started.",
     f"End other programs, or raise the limit of memory or processes. {_AGAIN}."),
    ("DISK_NEARLY_FULL", _STOPPED,
     "The disk is almost full. No more jobs were submitted; finished ones were saved.",
     f"Free some space. {_AGAIN}."),
    ("JOURNAL", _STOPPED, "The journal can't be read or written.",
     (f"Check the disk. {_AGAIN}. If the file is damaged, restore a backup; "
      "or move .crucible away: jobs are then restored from receipts.jsonl, "
      "or without it by run --recover.")),
    ("REPORT", _STOPPED,
     "The run ended, but its report cannot be written. The journal is complete.",
     (f"Check the disk. {_AGAIN}; if all jobs are done, crucible-batch report RUN_DIR is "
      "sufficient.")),
    ("OBJECT_STORE", (*_BAD, *_STOPPED),
     "The object store of --out-dir refuses a request (2), or can't be reached or written to (5).",
     (f"Correct the bucket, credentials, permissions or endpoint; for file://, mount the "
      f"directory. {_AGAIN}; nothing is paid for twice.")),
    ("RESULTS", _STOPPED, "An output cannot be written.",
     f"Check the disk. {_AGAIN}: outputs of paid jobs are downloaded at no cost."),
)  # fmt: skip

_OF_THE_GATEWAY = _of(
    Topic.GATEWAY,
    ("NO_API_KEY", _KEY, "There is no API key in the environment, in .env or in --env-file.",
     "Set MOLTAZINE_API_KEY. crucible-batch demo works without a key."),
    ("NO_KEY", _KEY, "The Python client was created with an empty API key.", "Pass an API key."),
    ("MALFORMED_KEY", _KEY, "The API key contains invalid characters.",
     ("Copy it again, without quotes and line breaks; crucible-batch doctor shows where the "
      "key was found.")),
    ("NO_ANSWER", _STOPPED,
     "The gateway could not be reached in any attempt, or its responses were incomplete.",
     f"Check the network and the base URL with crucible-batch doctor. {_AGAIN}."),
    ("BAD_ANSWER", _STOPPED, "The response does not conform to the gateway's API.",
     "Check the base URL. If it is right, report the request id to its operator."),
    ("NOT_A_GATEWAY", _BAD,
     "The base URL is not a gateway's API: a path of every gateway is missing or a web page.",
     "Give the base URL without /api/v1: --api-base or CRUCIBLE_API_BASE."),
    ("BAD_REQUEST", (ExitCode.SOME_FAILED, ExitCode.STOPPED),
     "The request is not allowed by the gateway's API. It was not sent.",
     "Correct the value in the message, such as an id or a parameter that JSON cannot represent."),
    ("UNSAFE_URL", (ExitCode.SOME_FAILED, ExitCode.STOPPED),
     "The gateway returned a storage link to a host that is not allowed. Nothing was sent to it.",
     "Report it to the gateway's operator; for private storage, use --storage-host HOST."),
    (HTTP, (ExitCode.KEY_REFUSED, ExitCode.STOPPED),
     "The gateway or a proxy responded with this status and without an error code.",
     (f"5xx and 429: {_AGAIN.lower()} later. 401: check the key. 403: ask the gateway's "
      "operator for access."
      " 3xx: use the final address as the base URL.")),
)  # fmt: skip

_OF_A_RUN = _of(
    Topic.RUN,
    ("BUDGET_EXHAUSTED", _CREDITS, "The rest of the budget is too small for the next job.",
     f"Raise the budget; {_ASK}. {_AGAIN}: completed jobs are not paid again."),
    ("REFUND_MISSING", _CREDITS,
     ("The next job doesn't fit into the budget beside the holds of failed jobs whose refund "
      "was not seen."),
     f"{_AGAIN} later. If you know that the refunds came, use --forget-refunds."),
    ("INSUFFICIENT_CREDITS", _CREDITS,
     "The account has too few credits for the next job, by its balance or by a 402.",
     f"Add credits, or check the account's limits with the gateway's operator. {_AGAIN}."),
    ("PRICE_ABOVE_CEILING", _CREDITS,
     "A job of the workflow costs more than budget.max_credits_per_job.",
     f"Raise max_credits_per_job if the price is acceptable; {_ASK}. {_AGAIN}."),
    ("PRICE_ROSE", _CREDITS,
     "A price rose after credits were held, and the run ended before more could be held.",
     f"Check what is left of the budget and of the account. {_AGAIN}."),
    ("DEADLINE", _STOPPED,
     "The deadline (--deadline or the manifest) passed before or during the run.",
     f"{_AGAIN} to resume."),
    ("SHARD_ABANDONED", _STOPPED, "A shard was merged with --abandon.",
     "Run the manifest in the main run directory."),
    ("SHARD_UNFINISHED", _STOPPED, "A shard was killed, and merged as it was.",
     "Run the manifest in the main run directory."),
    ("NOT_REMEMBERED", _STOPPED,
     "run --recover bought a job, which the gateway did not know. Nothing else was bought.",
     "To buy the missing jobs, run without --recover."),
)  # fmt: skip

_OF_A_JOB = _of(
    Topic.JOB,
    ("JOB_FAILED", _FAILED, "The gateway reports the job as failed, without an error code.",
     "--retry-failed runs it again."),
    ("JOB_TIMEOUT", _STOPPED, "The job did not end within --job-timeout. Its credits remain held.",
     f"{_AGAIN} later: the job is polled again, not bought again."),
    ("LOST_BY_GATEWAY", _FAILED,
     ("The gateway answered five times in a row, over 14 seconds, that it doesn't know the job. "
      "Its credits count as spent."),
     "Report the job id to the gateway's operator. The job is not bought again."),
    ("SOURCE_FAILED", _FAILED,
     "The job whose output is needed (`from` in the manifest) failed or was blocked.",
     "The report has its error; --retry-failed tries failed jobs again."),
    ("DERIVED_JOB_INVALID", _FAILED,
     ("No job can be made from an output: another job has its name, path or content, or it "
      "can't be an input."),
     "The message has the reason. Correct the entry with `from`, and run the manifest again."),
    ("REDO_LIMIT", _FAILED,
     "The output is rejected, and was bought again as often as redo.max of the manifest permits.",
     "Change the job's prompt, or raise redo.max; or remove the line from the file of rejections."),
    ("SAME_OUTPUT", _FAILED,
     "A rejected output was bought again, and the same bytes came. No more is bought.",
     "Change the job's prompt or a parameter, or set a seed."),
    ("FIXED_SEED", _FAILED,
     ("The output is rejected, and the job's seed is fixed, so the same picture would come again."
      " Nothing is bought."),
     "Set another seed, or leave it out."),
    ("PICK_NOT_FOUND", _FAILED, "The picks file names an output that the job does not have.",
     f"Correct the picks file. {_AGAIN}."),
    ("KEY_MAY_BE_FORGOTTEN", _STOPPED,
     "A submit was never answered, and its idempotency key may have expired.",
     "Search for the job with crucible-batch check; --resubmit-unknown submits it again."),
    ("SUBMIT_UNANSWERED", _STOPPED,
     "The run ended before the response to a submit was recorded. Its credits remain held.",
     f"{_AGAIN}: the same idempotency key is sent, so the job is bought only once."),
    ("IMPOSSIBLE_HISTORY", _STOPPED,
     "The journal contains an event that is impossible for the job.",
     ("Restore the run directory from a backup; or find the job with crucible-batch check, "
      "and use a new run id.")),
    ("JOB_OF_ANOTHER_KEY", _STOPPED,
     "The response to a submit names the job of another one, or another workflow or parameters.",
     "Report both jobs to the gateway's operator. The credits remain held."),
    ("WORKFLOW_NOT_FOUND", _FAILED,
     "The gateway no longer has the workflow. Its other jobs are not submitted.",
     "crucible-batch workflows lists the available workflows."),
    ("ASSET_NOT_READY", _FAILED,
     "An input image was uploaded but did not become ready. The job was not bought.",
     "The message shows what was charged and refunded. --retry-failed tries again."),
    ("INPUT_CHANGED", _FAILED, "An input image was changed or deleted after planning.",
     ("Run the same manifest again. If it is an output of this run, first run crucible-batch "
      "check RUN_DIR --fix.")),
)  # fmt: skip

_OF_AN_OUTPUT = _of(
    Topic.OUTPUT,
    ("OUTPUT_UNAVAILABLE", _FAILED,
     "The job succeeded and is paid, but its output cannot be downloaded.",
     f"{_AGAIN}: the output is downloaded at no cost, and never bought again."),
    ("OUTPUT_EXISTS", _FAILED,
     "Another file exists at the path of the output. It is never overwritten.",
     f"Move the file. {_AGAIN}: the output is paid, and is downloaded at no cost."),
    ("OUTPUT_CHANGED", (ExitCode.SOME_FAILED, ExitCode.DIFFERENCE),
     "The gateway now sends other bytes than were saved.",
     "Keep the file; or delete it and run the manifest again, at no cost."),
    ("CHECK_FAILED", _FAILED,
     "An output did not pass a check that has `fail` in the manifest. It is saved and paid for.",
     ("Review the file. To accept such outputs, set the check to `flag` and run the manifest "
      "again, at no cost.")),
    ("OUTPUT_MISSING", _FAILED, "The gateway lists no link for the output.", f"{_AGAIN} later."),
    ("OUTPUT_NOT_STORED", _FAILED,
     ("The object store didn't accept the output. No more jobs were submitted until it "
      "accepted one."),
     f"Check the store. {_AGAIN}: the output is paid for, and is downloaded at no cost."),
    ("OUTPUT_TRUNCATED", _FAILED, "The download was incomplete in all attempts.", f"{_AGAIN}."),
    ("OUTPUT_NO_PICTURE", _FAILED, "The download is not a complete, valid image.", f"{_AGAIN}."),
    ("OUTPUT_TOO_LARGE", _FAILED, "The output is larger than --max-output-size.",
     f"{_AGAIN}, with a larger --max-output-size if the size is expected."),
    ("OUTPUT_TOO_MANY_PIXELS", _FAILED,
     "The header of the output declares more pixels than --max-pixels allows.",
     f"{_AGAIN}, with a larger --max-pixels if the size is expected."),
    ("OUTPUT_REPLACED", _DIFFERENCE,
     "check found a link or directory at the path of a saved output.",
     "Remove or move it, then run check again."),
    ("OUTPUT_MISPLACED", (ExitCode.SOME_FAILED, ExitCode.DIFFERENCE),
     ("The path of the output in the journal differs from the plan, or is not allowed. "
      "Nothing is written there."),
     ("If a file exists there, move it. Run the manifest again: the output is downloaded at "
      "no cost.")),
    (NOT_DERIVED, _DIFFERENCE,
     "A further form of an output could not be made again: the message has the reason.",
     "Fix the cause, then run check --fix again, or the manifest: it costs nothing."),
    ("OUTPUT_UNREADABLE", _DIFFERENCE,
     "check cannot read the output.", "Fix its permissions, then run check again."),
    ("NOT_EXPORTED", _FAILED,
     "The file of an output is missing, or is not as recorded. All others were exported.",
     ("crucible-batch check RUN_DIR --fix restores it at no cost; then give the same export "
      "command again.")),
)  # fmt: skip

_FAILED_OR_STOPPED = (ExitCode.SOME_FAILED, ExitCode.STOPPED)
_CONTENT_REFUSED = (
    "The gateway's content rules do not allow the prompt, an input image or the result."
)
_CHANGE_CONTENT = "Change the prompt or the image: the same content is refused again."

_SENT_BY_THE_GATEWAY = _of(
    Topic.SENT,
    ("UNAUTHORIZED", _KEY, "The gateway does not accept the API key.",
     "Check both with crucible-batch doctor: MOLTAZINE_API_KEY and the base URL."),
    ("FORBIDDEN", _FAILED_OR_STOPPED, "The gateway knows the API key and denies access (HTTP 403).",
     ("Ask the gateway's operator, with the request id, what the key may do. Then run with "
      "--retry-failed.")),
    ("INTERNAL_ERROR", _STOPPED, "An error inside the gateway (HTTP 500), in all tries.",
     f"{_AGAIN} later. If it stays, report it to the gateway's operator with the request id."),
    ("SERVICE_UNAVAILABLE", _STOPPED, "The gateway is down or overloaded (HTTP 503), in all tries.",
     f"{_AGAIN} later."),
    ("RATE_LIMITED", _STOPPED, "The gateway asks for fewer requests (HTTP 429), in all tries.",
     f"{_AGAIN} later, with a smaller --concurrency."),
    ("ASSET_NOT_FOUND", _FAILED_OR_STOPPED,
     "The gateway has no such uploaded image for this account.",
     f"Check that the key is that of the run's account. {_AGAIN}."),
    ("JOB_NOT_FOUND", _FAILED_OR_STOPPED, "The gateway has no such job for this account.",
     f"Check that the key and the base URL are those of the run. {_AGAIN}."),
    ("IDEMPOTENCY_KEY_REUSED", _FAILED,
     "The gateway knows the job's idempotency key with another request.",
     ("Nothing was charged. A copy of a lost run directory that has bought the job brings its "
      "outputs back;"
      " --retry-failed --resubmit-unknown buys it again.")),
    ("INVALID_PARAMS", _FAILED, "The gateway does not accept the job's parameters.",
     "Correct the parameters in its message; crucible-batch workflows ID lists them."),
    ("INVALID_REQUEST", _FAILED_OR_STOPPED, "The gateway does not accept the request.",
     ("Correct what its message names; if that is not in the manifest, report it with the "
      "request id.")),
    ("INVALID_INPUT", _FAILED, "The gateway does not accept an input of the job.",
     "Correct the prompt, the parameter or the image that its message names."),
    ("UNSUPPORTED_IMAGE", _FAILED, "The workflow cannot use the input image.",
     "Convert the image to PNG, JPEG or WebP, or choose another one."),
    ("UNSUPPORTED_ASSET_TYPE", _FAILED, "The gateway does not store files of this type.",
     "Convert the input image to PNG, JPEG or WebP."),
    ("ASSET_TOO_LARGE", _FAILED,
     "The input image has more bytes than the gateway stores.", "Make the image smaller."),
    ("UPLOAD_CONFLICT", _FAILED, "Other bytes have been uploaded for the same asset.",
     f"Leave the input images unchanged during a run. {_AGAIN}."),
    ("BODY_TOO_LARGE", _FAILED, "The request has more bytes than the gateway reads.",
     "Shorten the prompt or the parameters."),
    ("GENERATION_FAILED", _FAILED, "The gateway could not generate the job's outputs.",
     "--retry-failed buys another attempt."),
    *((name, _FAILED, _CONTENT_REFUSED, _CHANGE_CONTENT) for name in (
        "MODERATION_REFUSED", "MODERATION_BLOCKED", "CONTENT_POLICY_VIOLATION", "CONTENT_MODERATED",
        "NSFW_CONTENT",
        "SAFETY_REJECTED",
    )),
)  # fmt: skip

CODES = (
    *_OF_THE_COMMAND,
    *_OF_THE_MACHINE,
    *_OF_THE_GATEWAY,
    *_OF_A_RUN,
    *_OF_A_JOB,
    *_OF_AN_OUTPUT,
    *_SENT_BY_THE_GATEWAY,
)

_BY_NAME = {code.name: code for code in CODES}


def find_code(name: str) -> Code | None:
    """Return the entry of a code; for one such as ``HTTP_503``, that of the family.

    Returns None if it isn't in the table.
    """
    if _OF_A_STATUS.fullmatch(name):
        return _BY_NAME.get(HTTP)
    return _BY_NAME.get(name)
