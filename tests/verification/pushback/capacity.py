"""What a gateway has to give: runners, and requests a second."""

import asyncio
from collections import deque
from collections.abc import Callable


class TokenBucket:
    """`rate` tokens a second, `burst` of them at most. A request that finds none takes none."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self.tokens = burst
        self.filled_at: float | None = None

    def take(self, now: float) -> bool:
        if self.filled_at is not None:
            self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class RunnerPool:
    """A number of runners that take work in the order in which it was queued."""

    def __init__(self, count: int, service_s: Callable[[], float]) -> None:
        self.free, self.service_s = count, service_s
        self.queue: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()

    def put(self, started: Callable[[], None], finished: Callable[[], None]) -> None:
        self.queue.append((started, finished))
        self._fill()

    def _fill(self) -> None:
        while self.free and self.queue:
            self.free -= 1
            started, finished = self.queue.popleft()
            started()
            asyncio.get_running_loop().call_later(self.service_s(), self._finish, finished)

    def _finish(self, finished: Callable[[], None]) -> None:
        self.free += 1
        finished()
        self._fill()
