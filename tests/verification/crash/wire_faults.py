"""What goes wrong with one exchange on the wire: whether the request arrives, and what comes back
for an answer.

before   the request never arrives             late    it arrives when its sender has given up
after    it takes effect, and then             twice   it arrives two times
"""

from __future__ import annotations

import enum
import gzip
from collections.abc import Callable
from dataclasses import dataclass

JSON = b"application/json"
HTML = b"text/html"
DOWNLOAD = "GET storage"
INTENT = "POST /api/v1/assets"
PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


class Arrival(enum.Enum):
    """What becomes of the request."""

    BEFORE = "before"
    LATE = "late"
    AFTER = "after"
    TWICE = "twice"


class End(enum.Enum):
    """What becomes of the connection."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True)
class Answer:
    """An answer as it came from the sandbox, without what is about the connection."""

    start: bytes
    headers: tuple[bytes, ...]
    body: bytes

    def raw(
        self, body: bytes | None = None, *more: bytes, sized: bool = True, length: int | None = None
    ) -> bytes:
        """Give the bytes of the answer, with another body and ``more`` headers where given."""
        body = self.body if body is None else body
        kept = [line for line in self.headers if not line.lower().startswith(b"content-length:")]
        size = (
            [b"content-length: %d" % (len(body) if length is None else length)]
            if sized
            else [b"connection: close"]
        )
        return b"\r\n".join([self.start, *kept, *size, *more, b"", body])


@dataclass(frozen=True)
class Delivery:
    """What the client gets: ``parts``, with a pause between each and the next, and then an end."""

    parts: tuple[bytes, ...]
    end: End = End.KEEP
    pause_s: float = 0.0


Deliver = Callable[[Answer, bytes], Delivery]
"""From the answer, and the whole of the answer that the exchange before had, to what is delivered.
"""


@dataclass(frozen=True)
class WireFault:
    """One kind of fault.

    ``codes`` are those with which a run that met it may end, besides its own.
    """

    name: str
    arrival: Arrival
    deliver: Deliver
    codes: frozenset[int] = frozenset({5})
    spares: str | None = None
    """The exchange that it isn't tried at: nothing in the contract lets a client see what came of
    it there.
    """


def canned(status: bytes, body: bytes, *headers: bytes, kind: bytes = JSON) -> Deliver:
    """An answer of the edge in front, not of the gateway."""
    answer = Answer(b"HTTP/1.1 " + status, (b"content-type: " + kind, *headers), body)
    return lambda _answer, _before: Delivery((answer.raw(),))


def refused(status: bytes, code: bytes, *headers: bytes) -> Deliver:
    """A refusal in the contract's own form."""
    return canned(status, b'{"success": false, "error": "no", "code": "%s"}' % code, *headers)


def nothing(end: End) -> Deliver:
    return lambda _answer, _before: Delivery((), end)


def other(body: bytes) -> Deliver:
    """The answer's own head, with other bytes in it and the right length."""
    return lambda answer, _before: Delivery((answer.raw(body),))


def half(cut: Callable[[bytes], bytes], end: End) -> Deliver:
    """The answer up to somewhere."""
    return lambda answer, _before: Delivery((cut(answer.raw()),), end)


def unsized(missing: int) -> Deliver:
    """The answer without its length and its last bytes: where it ends, only the end of the
    connection tells.
    """
    return lambda answer, _before: Delivery(
        (answer.raw(answer.body[: len(answer.body) - missing], sized=False),), End.CLOSE
    )


def _zipped(answer: Answer, _before: bytes) -> Delivery:
    return Delivery((answer.raw(gzip.compress(answer.body), b"content-encoding: gzip"),))


def _hinted(answer: Answer, _before: bytes) -> Delivery:
    return Delivery((b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3, answer.raw()))


def _drip(answer: Answer, _before: bytes) -> Delivery:
    raw = answer.raw()
    step = len(raw) // 40 + 1
    return Delivery(tuple(raw[at : at + step] for at in range(0, len(raw), step)), pause_s=0.005)


def _of_another(answer: Answer, before: bytes) -> Delivery:
    return Delivery((before or answer.raw(b"{}"),))


_DONE = Arrival.AFTER
_NEVER = Arrival.BEFORE

FAULTS = (
    WireFault("reset-before", _NEVER, nothing(End.RESET)),
    WireFault("close-before", _NEVER, nothing(End.CLOSE)),
    WireFault("hang-before", _NEVER, nothing(End.HANG)),
    WireFault("500-before", _NEVER, refused(b"500 Internal Server Error", b"INTERNAL")),
    WireFault("503-before", _NEVER, canned(b"503 Unavailable", b"", b"retry-after: 1")),
    WireFault(
        "429-before", _NEVER, refused(b"429 Too Many Requests", b"RATE_LIMITED", b"retry-after: 2")
    ),
    WireFault(
        "401-before", _NEVER, refused(b"401 Unauthorized", b"UNAUTHORIZED"), codes=frozenset({3, 5})
    ),
    WireFault(
        "402-before",
        _NEVER,
        refused(b"402 Payment Required", b"INSUFFICIENT"),
        codes=frozenset({1, 4, 5}),
    ),
    WireFault(
        "404-page-before",
        _NEVER,
        canned(b"404 Not Found", PAGE, kind=HTML),
        codes=frozenset({1, 5}),
    ),
    WireFault(
        "redirect-before",
        _NEVER,
        canned(b"307 Redirect", b"", b"location: THIEF"),
        codes=frozenset({1, 5}),
    ),
    WireFault("reset-late", Arrival.LATE, nothing(End.RESET)),
    WireFault("reset-after", _DONE, nothing(End.RESET)),
    WireFault("close-after", _DONE, nothing(End.CLOSE)),
    WireFault("hang-after", _DONE, nothing(End.HANG)),
    WireFault("half-a-head", _DONE, half(lambda raw: raw[:40], End.CLOSE)),
    WireFault("half-a-body", _DONE, half(lambda raw: raw[:-9], End.CLOSE)),
    WireFault("half-a-body-reset", _DONE, half(lambda raw: raw[:-9], End.RESET)),
    WireFault("500-after", _DONE, refused(b"500 Internal Server Error", b"INTERNAL")),
    WireFault("502-page-after", _DONE, canned(b"502 Bad Gateway", PAGE, kind=HTML)),
    WireFault("page-200", _DONE, other(PAGE)),
    WireFault("empty-200", _DONE, other(b"")),
    WireFault("null-200", _DONE, other(b"null")),
    WireFault("cut-and-sized", _DONE, lambda answer, _: Delivery((answer.raw(answer.body[:-5]),))),
    WireFault("cut-and-unsized", _DONE, unsized(5)),
    WireFault("unsized", _DONE, unsized(0)),
    WireFault(
        "garbage", _DONE, lambda _answer, _: Delivery((b"\x16\x03\x01\x00\xff" * 60,), End.CLOSE)
    ),
    WireFault("unrequested-gzip", _DONE, _zipped),
    WireFault("interim-first", _DONE, _hinted),
    WireFault("drip", _DONE, _drip),
    WireFault("answered-twice", _DONE, lambda answer, _: Delivery((answer.raw() * 2,))),
    # One picture in place of another, whole and of the right length, can't be told from it.
    WireFault("answer-of-another", _DONE, _of_another, spares=DOWNLOAD),
    # An intent has no key: the second is one more.
    WireFault(
        "sent-twice", Arrival.TWICE, lambda answer, _: Delivery((answer.raw(),)), spares=INTENT
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
