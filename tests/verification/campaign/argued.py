"""Mutants that no test can notice, or none should: each with the reason, by its module and the line
that it makes.

A line here begins with ``-`` where the mutant takes it away, and puts nothing in its place.
"""

from __future__ import annotations

from collections.abc import Mapping

_SPEED = (
    "the shorter way writes what the longer one does, which is tested against it: "
    "the difference is time alone"
)
_CODEC = "Python's codecs are called so too"
_LOWER = "lower case has no X"
_SQL = "SQL knows no case"
_EXPONENT = "of the unit only the exponent counts"
_NAME = "the name is for a picture that is opened by it; ours is open"
_KNOWN = "Pillow knows every format of ours: nothing is missing"
_FALSE = "None is as false as False"
_START = "the sum of no amounts is 0 either way"
_AT_STAKE = (
    "a job whose record differs is held for or lost: by the stages it can't happen to another"
)
_ROUNDED = "of an offset of 0, 1 or 2 it is the same, rounded up"
_NAN = "only NaN and infinity have such an exponent, and they are refused before"

ARGUED: Mapping[str, Mapping[str, str]] = {
    "core/ledger.py": {
        'lost.subject, lost.rebate = "XXXX", rebate': (
            "no image is called so, as none is called nothing"
        ),
        "-case _:": "nothing comes here: mypy shows that all events have their case",
        "assert_never(None)": "nothing comes here: mypy shows that all events have their case",
        "known = self._holds.get(subject, self._vanished.get(subject, None))": _AT_STAKE,
        "known = self._holds.get(subject, self._vanished.get(subject, ))": _AT_STAKE,
        "if record >= known and (shape := self._shapes.get(subject)) is not None:": (
            "what is known was learned as a price, and is no surprise"
        ),
    },
    "engine/admission.py": {
        "self._price_differs = None": _FALSE,
        "self._account_closed = None": _FALSE,
        "self._account_due = self._account_stale = None": _FALSE,
        "self._account_base: Credits = None": (
            "it is read where the account's figure is, and set together with it"
        ),
        "-case _:": "the case does nothing",
        "return": "what follows the loop is the return of None",
        "return ledger.committed - sum(holds, )": _START,
        "expected = sum((submit.expected for submit in self._unanswered.values()), )": _START,
    },
    "core/prices.py": {
        (
            'return hashlib.sha256(canonical(params).encode("ASCII")).hexdigest()[:16]'
            "  # type: ignore[arg-type]"
        ): _CODEC,
    },
    "core/redaction.py": {
        'return text.encode("ASCII", "ignore").translate(None, _CONTROLS)': _CODEC,
        "for offset in range(4):": "three bytes further base64 makes the same again",
        "yield encoded[-(-9 * offset // 6) : 8 * (offset + len(raw)) // 6]": _ROUNDED,
        "yield encoded[-(-8 * offset // 7) : 8 * (offset + len(raw)) // 6]": _ROUNDED,
    },
    "core/output_path.py": {
        (
            "return path.lower() if (path.isascii()) and False "
            'else unicodedata.normalize("NFKC", path).casefold()'
        ): _SPEED,
    },
    "core/identity.py": {
        'value.encode("UTF-8")': _CODEC,
        "return json.dumps(value, )": "ASCII is what json writes where nothing is said",
        'return hashlib.sha256(canonical(content).encode("ASCII")).hexdigest()': _CODEC,
        (
            'digest = hashlib.sha256(f"{KEY_PREFIX}{identity}:{attempt}"'
            '.encode("ASCII")).hexdigest()'
        ): _CODEC,
    },
    "core/credits.py": {
        "if _places(figure) >= _FIGURE_PLACES:": (
            "a figure of just so many places is rounded to itself"
        ),
        "figure = figure.quantize(Decimal(2).scaleb(-_FIGURE_PLACES), context=_EXACT)": _EXPONENT,
        "return -exponent if (isinstance(exponent, int)) or True else 0": _NAN,
        "return -exponent if isinstance(exponent, int) else 1": _NAN,
        'text = format(amount, "F")': (
            "f and F differ in how they write NaN and infinity, which are no amounts"
        ),
        'return text.rstrip("XX0XX").rstrip(".") if "." in text else text': "an amount holds no X",
        'return text.rstrip("0").rstrip("XX.XX") if "." in text else text': "an amount holds no X",
    },
    "gateway/url_guard.py": {
        'if url.userinfo or url.query and url.fragment or "?" in text or "#" in text:': (
            "a URL with a query has a question mark, and one with a fragment a hash: "
            "the text is looked at as well"
        ),
        'host = url.raw_host.decode("ASCII")': _CODEC,
        'return quote(check_workflow_id(value), safe="XXXX")': "an X is never percent-encoded",
        "plain = None": _SPEED,
        "if len(url) >= STORAGE_URL_LIMIT:": _SPEED,
        "if len(self._origins) <= _ORIGINS:": "how many are remembered is a bound on memory alone",
        "self._origins[origin] = None": _SPEED,
        "known = None": _SPEED,
        "known = self._origins.get(None)": _SPEED,
        '_check(host, ipaddress.ip_address(address.partition("XX%XX")[0]))': (
            "Python reads a scope as well"
        ),
        'return self._trusts_all or host.lower().rstrip("XX.XX") in self._trusted': _LOWER,
        'self._trusted = frozenset(host.lower().rstrip("XX.XX") for host in trusted_hosts)': _LOWER,
    },
    "gateway/api_key.py": {
        "text = str(json.loads(found[0], strict=None))": _FALSE,
        'text = content.decode("UTF-8", "surrogateescape")': _CODEC,
        (
            "return _JSON_STRING.sub(self._hidden_in_string, text)"
            '.encode("UTF-8", "surrogateescape")'
        ): _CODEC,
    },
    "gateway/log_filter.py": {
        "record.args = None": (
            "logging takes None and an empty tuple alike: there is nothing to fill in"
        ),
    },
    "journal/group_commit.py": {
        'connection.execute("begin immediate")': _SQL,
        'connection.execute("commit")': _SQL,
        'connection.execute("rollback")': _SQL,
        'await self.write("select 1", ())': _SQL,
        "self._is_closed = None": _FALSE,
    },
    "outputs/image_check.py": {
        "head = _part(file, 0, None)": (
            "more than the beginning is read, and only the beginning looked at"
        ),
        "if accept is not None and accept(head[:17]) is not True:": (
            "no format looks at more than its first bytes"
        ),
        "factory, accept = Image.OPEN.get(kind, None)": _KNOWN,
        "factory, accept = Image.OPEN.get(kind, )": _KNOWN,
        "return factory(file, None)": _NAME,
        "return factory(file, )": _NAME,
        'return factory(file, "XXXX")': _NAME,
        "return file.read(None)": "more is read than is looked at",
        'end, reach = _ENDS.get(kind, (b"", 1))': (
            "an empty end, where none is known, is found anywhere"
        ),
        "tail = _part(file, max(0, size - far), None)": "no more than that is left",
        "tail = _part(file, max(1, size - far), far)": "none ends with its first byte",
        'return kind or "XXXX"': "what was opened has a format",
    },
}


def is_argued(module: str, change: str) -> bool:
    """Whether a mutant, by the lines that go and come, is one of those above."""
    lines = change.splitlines()
    made = " ".join(line.removeprefix("+") for line in lines if line.startswith("+"))
    return (made or lines[0]) in ARGUED.get(module, {})
