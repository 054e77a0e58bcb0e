"""One sandbox put together: world, state file, faults, and what it observed of its clients."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.background import BackgroundTask

from crucible_batch.sandbox.config import SandboxConfig
from crucible_batch.sandbox.faults import Faults
from crucible_batch.sandbox.records import Ids
from crucible_batch.sandbox.signing import Signer
from crucible_batch.sandbox.store import Store
from crucible_batch.sandbox.world import World


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that no good client does. `detail` never holds a key or a token."""

    kind: str
    operation: str
    detail: str
    at: float


@dataclass(slots=True)
class Observations:
    """Counts of what came in, since the start of the process."""

    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation and status; 0 stands for a connection that was closed without an answer."""
    keyless_posts: int = 0
    """Submits without an idempotency key: the contract allows them, a client that may retry must
    not send any."""
    keys_of_other_jobs: int = 0
    """Submits that were refused, since their key belongs to a job of another content."""
    answered: set[str] = field(default_factory=set)
    """The jobs whose ids the client knows: an answer to a submit with the id was sent."""
    downloaded: set[str] = field(default_factory=set)
    """The jobs of which a complete output was sent."""
    uploads: Counter[str] = field(default_factory=Counter)
    """How often the bytes of each SHA-256 were uploaded."""
    violations: list[Violation] = field(default_factory=list)


class Gateway:
    """What the API and the storage share.

    All of it is used from one thread, that of the event loop.
    """

    def __init__(self, config: SandboxConfig, store: Store, clock: Callable[[], float]) -> None:
        self.config = config
        self.store = store
        self._clock = clock
        self._ahead_s = 0.0
        self.faults = Faults(config.faults, config.seed)
        self.world = World(config, self.faults, self.now(), store.load())
        self.signer = Signer(config.seed)
        self.request_ids = Ids(f"request-{config.seed}")
        self.seen = Observations()
        self.stopping = asyncio.Event()
        """Set when the sandbox is about to stop: slow answers are sent immediately."""
        self.storage_url = ""
        """The origin of the storage, known once its port is."""
        self.commit()

    def now(self) -> float:
        """Return the time of the sandbox, in seconds since the epoch."""
        return self._clock() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Put the clock forward: jobs end, URLs expire."""
        self._ahead_s += seconds

    def commit(self) -> None:
        """Store what the world has changed. To be called before any answer that depends on it."""
        changes = self.world.take_changes()
        if changes:
            self.store.save(changes)

    def once_sent(self, known: set[str], record_id: str) -> BackgroundTask:
        """Return the background task of an answer that puts a record into `known`.

        It runs when the answer was sent, and not if a fault sent another one.
        """

        async def note() -> None:
            known.add(record_id)

        return BackgroundTask(note)

    def report(self, kind: str, operation: str, detail: str) -> None:
        self.seen.violations.append(Violation(kind, operation, detail, self.now()))

    def knows_key_in(self, text: str) -> bool:
        """Return whether an API key stands in a text where none belongs."""
        # A shorter key, as in tests, stands in any text by chance.
        return any(len(key) >= 8 and key in text for key in self.config.accounts)
