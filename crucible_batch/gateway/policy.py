"""What an answer means for the request that it answers: is it sent again, and may it have taken effect?

                                 READ        KEYED           ONCE           AGAIN
                                 (GETs)      (generate)      (create_asset) (delete_asset, upload)
    no answer                    retry       retry, doubt    doubt          retry, doubt
    2xx, but not what was asked  retry       retry, doubt    doubt          retry, doubt
    1xx, 3xx                     -           doubt           doubt          doubt
    408, 425, 5xx                retry       retry, doubt    doubt          retry, doubt
    409                          -           retry, doubt    -              -
    429                          retry       retry           retry          retry
    other 4xx                    -           -               -              -

A request that changes nothing is never in doubt. No transport error counts as "never sent": clients report a server
that read the POST and hung up as a failed connection. A 409 to a keyed request means that an earlier one with the same
key is under way. Only 4xx are refusals; a redirect may follow the effect, and is never followed.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Operation(enum.StrEnum):
    """What is asked of the gateway or its storage; the contract's operations, then storage's two."""

    HEALTH = "health"
    CREDITS = "credits"
    WORKFLOWS = "workflows"
    WORKFLOW = "workflow"
    ASSETS = "assets"
    ASSET = "asset"
    CREATE_ASSET = "create_asset"
    DELETE_ASSET = "delete_asset"
    GENERATE = "generate"
    JOB = "job"
    UPLOAD = "upload"
    DOWNLOAD = "download"


class Effect(enum.Enum):
    """What sending a request twice does."""

    READ = "nothing"
    KEYED = "the second finds what the first did"
    ONCE = "the second buys again"
    AGAIN = "the same as once"


_EFFECTS: Final = {
    Operation.GENERATE: Effect.KEYED,
    Operation.CREATE_ASSET: Effect.ONCE,
    Operation.DELETE_ASSET: Effect.AGAIN,
    Operation.UPLOAD: Effect.AGAIN,
}


class Verdict(NamedTuple):
    """What follows from one failed try."""

    retry: bool
    in_doubt: bool


_STOP: Final = Verdict(retry=False, in_doubt=False)
_RETRY: Final = Verdict(retry=True, in_doubt=False)
_DOUBT: Final = Verdict(retry=False, in_doubt=True)
_RETRY_IN_DOUBT: Final = Verdict(retry=True, in_doubt=True)

_UNSURE: Final = {
    Effect.READ: _RETRY,
    Effect.KEYED: _RETRY_IN_DOUBT,
    Effect.ONCE: _DOUBT,
    Effect.AGAIN: _RETRY_IN_DOUBT,
}


def judge(operation: Operation, status: int | None) -> Verdict:
    """Judge a try that did not end in the wanted answer. ``status`` is None where no answer came.

    A 2xx that comes here is one that could not be read, or was an answer to another question.
    """
    effect = _EFFECTS.get(operation, Effect.READ)
    if status is None or 200 <= status < 300 or status in (408, 425) or status >= 500:
        return _UNSURE[effect]
    if status == 429:
        return _RETRY
    if status == 409 and effect is Effect.KEYED:
        return _RETRY_IN_DOUBT
    if status < 400 and effect is not Effect.READ:
        return _DOUBT
    return _STOP
