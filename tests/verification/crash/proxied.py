"""Trials on a bad line: one exchange of a run goes wrong, in a way of ``wire_faults.py``."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from crucible_batch.gateway import open_gateway
from crucible_batch.runs import connecting
from tests.verification.crash.judge import Finding
from tests.verification.crash.proxy import Aim, Proxy, start_proxy
from tests.verification.crash.scenes import Scene
from tests.verification.crash.trials import Boundary, Trial, staged
from tests.verification.crash.wire_faults import BY_NAME, FAULTS, Arrival

PATIENCE_S = 1.5
"""How long the command waits for the next byte; thirty seconds, where nobody watches."""
_RUNS = 3
_LATEST_S = 5.0


def proxied(trial: Trial, _chance: Random, at: Boundary) -> Iterator[Finding]:
    """One fault on the wire; once it is over, the same command comes to its end."""
    fault, _, label = at.label.partition(" @ ")
    with _between(trial, Aim(fault, label, at.nth)) as proxy:
        ended = trial.run()
        told = proxy.told()
        trial.struck += [f"{line['fault']} @ {line['at']}" for line in told if "fault" in line]
        allowed = BY_NAME[fault].codes | {0}
        if ended.code not in allowed:
            yield Finding(
                "exit codes",
                f"{at.label} {at.nth} ended with {ended.code}, not one of {sorted(allowed)}",
            )
        # No worse than a kill, for an upload that is under way.
        trial.left += 1
        if BY_NAME[fault].arrival is Arrival.LATE:
            trial.late += 1
            _await_the_late(proxy)
        for _ in range(_RUNS):
            if ended.code == 0:
                break
            ended = trial.run(None, "--retry-failed")
        yield from trial.conclude(ended)
        yield from (Finding("canary", line["leak"]) for line in proxy.told() if "leak" in line)


def exchanges_of(scene: Scene) -> list[Boundary]:
    """Run a scene undisturbed, and return every fault at every exchange that it can strike."""
    with staged(scene, lambda: None) as trial, _between(trial, None) as proxy:
        trial.run()
        seen: Counter[str] = Counter()
        labels = [line["exchange"] for line in proxy.told()]
        exchanges = [(label, seen[label]) for label in labels if not seen.update([label])]
    return [
        Boundary(f"{fault.name} @ {label}", nth)
        for fault in FAULTS
        for label, nth in exchanges
        if fault.spares is None or not label.startswith(fault.spares)
    ]


@retry(
    retry=retry_if_result(operator.not_), wait=wait_fixed(0.01), stop=stop_after_delay(_LATEST_S)
)
def _await_the_late(proxy: Proxy) -> bool:
    """Wait until what was late has arrived, where there was any: else it would seem to be asked for
    by a later run.

    Raises ``RetryError`` where it doesn't come.
    """
    told = proxy.told()
    return any("arrived" in line for line in told) or not any("fault" in line for line in told)


@contextmanager
def _between(trial: Trial, aim: Aim | None) -> Iterator[Proxy]:
    """Put a proxy between the trial's command and its sandbox."""
    proxy = start_proxy(trial.sandbox, trial.folder / "proxy.jsonl", aim)
    trial.url = proxy.url
    trial.plant = _impatient(trial.plant)
    try:
        yield proxy
    finally:
        proxy.stop()


def _impatient(plant: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        plant()
        impatient = functools.partial(open_gateway, timeout_s=PATIENCE_S)
        connecting.open_gateway = impatient  # type: ignore[assignment]

    return both
