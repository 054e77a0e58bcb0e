"""The answer "no", as an exception that holds all that the failure answer says."""


class RefusedError(Exception):
    """A request that is answered with a failure: HTTP status, machine code, text, and a hint if there is one."""

    def __init__(self, status: int, code: str, error: str, hint: str | None = None) -> None:
        super().__init__(f"{status} {code}: {error}")
        self.status = status
        self.code = code
        self.error = error
        self.hint = hint


def not_found(noun: str, code: str) -> RefusedError:
    """Refuse an id that is unknown, deleted or another account's: the three look alike on purpose."""
    return RefusedError(404, code, f"{noun} not found.", f"The {noun.lower()} id must be one that this key can see.")


def invalid_params(error: str, hint: str) -> RefusedError:
    """Refuse generation params that the workflow does not take."""
    return RefusedError(400, "INVALID_PARAMS", error, hint)


def insufficient_credits(price: object, available: object) -> RefusedError:
    """Refuse a purchase that the account can't pay."""
    return RefusedError(
        402,
        "INSUFFICIENT_CREDITS",
        f"This costs {price} credits; {available} are available.",
        "Wait for running jobs to settle, or add credits.",
    )
