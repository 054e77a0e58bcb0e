"""Which line of a list each job draws: a pure function of the seed, the list's name and length, and
the number of jobs. What is in a line doesn't count, so a corrected one changes its own jobs only.

The list is built line by line. With one line, all jobs have it. Each further line takes its share
from the lines above it, and no other job changes, so a line that is added at the end changes
``ceil(count / lines)`` jobs at most. Jobs are in a circle, in an order that each list has of its
own. A line has points on it, at each of which it takes the next job whose line has more than its
share.

No rule can hold either of these as well:

- That a line inserted anywhere changes so few jobs. Each job would have an order of preference over
  all texts, of which it draws the first that is in the list, and each text of any three would come
  first for a third of the jobs. But among enough texts there are three of which the same one is
  second in the orders of all jobs (by the theorem of Erdős and Szekeres).
- That a larger count only adds jobs. With ``n`` lines, each of the successive groups of ``n`` jobs
  would have each line once. A further line changes one job in each group of ``n + 1``, so these
  would have each line, too: lines would come again in almost the same order, and two lists would
  almost depend on each other.

The numbers are those of SHA-256, so that they are the same everywhere, and in later versions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from crucible_batch.core.identity import Json, canonical

_BYTES = 8
_MOST = 2 ** (8 * _BYTES)


def drawn(seed: int, name: str, lines: int, count: int) -> list[int]:
    """Return the index of the line that each of ``count`` jobs draws from the list ``name``."""
    circle = sorted((next(_numbers(seed, name, "job", job)), job) for job in range(count))
    drawing = [0] * count  # the line of each job, in the order of the circle
    uses = [count]  # how many jobs draw each line
    with_uses = Counter(uses)  # how many lines are drawn that often
    for line in range(1, lines):
        points = _numbers(seed, name, "line", line)
        least, further = divmod(count, line + 1)
        own = least + (next(points) * (line + 1) < further * _MOST)
        to_have_more = count - own - least * line
        have_more = line - with_uses[least]
        for _ in range(own):
            at = next(points) * count // _MOST
            while True:
                at %= count
                former = drawing[at]
                excess = 0 if former == line else uses[former] - least
                if excess > 1 or (excess == 1 and have_more > to_have_more):
                    break
                at += 1
            drawing[at] = line
            with_uses[uses[former]] -= 1
            uses[former] -= 1
            with_uses[uses[former]] += 1
            have_more -= excess == 1
        uses.append(own)
        with_uses[own] += 1
    of_jobs = [0] * count
    for (_, job), line in zip(circle, drawing, strict=True):
        of_jobs[job] = line
    return of_jobs


def _numbers(*of: Json) -> Iterator[int]:
    """Yield numbers below 2^64 without an end, which only depend on the arguments."""
    text = canonical(["draw", *of]).encode("ascii")
    block = 0
    while True:
        digest = hashlib.sha256(b"%s:%d" % (text, block)).digest()
        for at in range(0, len(digest), _BYTES):
            yield int.from_bytes(digest[at : at + _BYTES], "big")
        block += 1
