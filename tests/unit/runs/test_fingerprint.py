"""How the account's fingerprint is derived where no test makes it cheap."""

from __future__ import annotations

import subprocess
import sys


def test_a_guess_at_the_key_of_a_fingerprint_costs_200_000_rounds() -> None:
    program = "from crucible_batch.runs import account; print(account._ROUNDS)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) >= 200_000
