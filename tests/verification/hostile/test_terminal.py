"""Every word that a gateway can say, with escapes in it, shown by every command that shows what it
says."""

from __future__ import annotations

import asyncio
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.harness.forked_commands import start_command
from tests.harness.slow_cases import quick_where
from tests.verification.hostile.gateway import KEY, HostileGateway, Reply, envelope, http, serving

PAINT = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e\r\n\x08x https://s.test/x?sig=PAINTED"
ENTRY = {
    "id": PAINT,
    "job_id": PAINT,
    "entry_type": PAINT,
    "status": PAINT,
    "amount": 1,
    "description": PAINT,
    "created_at": PAINT,
    "more": PAINT,
}
SAID: dict[str, Any] = {
    "credits": {"balance": 1, "reserved": 0, "available": 1, "recent_entries": [ENTRY]},
    "workflow": {
        "workflow_id": "w",
        "metadata": {
            "available_fields": [PAINT, {"name": PAINT, "type": PAINT}],
            "title": PAINT,
            "description": PAINT,
        },
    },
    "assets": {
        "assets": [
            {
                "asset_id": "a-1",
                "status": PAINT,
                "mime_type": PAINT,
                "byte_size": 1,
                "original_filename": PAINT,
                "metadata": {PAINT: PAINT},
                "created_at": PAINT,
            }
        ]
    },
    "other": {"workflows": [{"workflow_id": PAINT, "updated_at": PAINT}]},
}
REFUSAL = json.dumps(
    {"success": False, "code": PAINT, "error": PAINT, "hint": PAINT, "request_id": PAINT}
).encode()
COMMANDS = [
    ("credits",), ("workflows",), ("workflows", "w"), ("assets",),
    ("plan", "m.yaml"), ("run", "m.yaml"), ("doctor",),
    ("credits", "--json"), ("workflows", "--json"), ("workflows", "w", "--json"),
    ("assets", "--json"),
]  # fmt: skip

CASES = [(command, refuses) for command in COMMANDS for refuses in (False, True)]


def _is_quick(case: tuple[tuple[str, ...], bool]) -> bool:
    """Each command is said all or refused all, in turn."""
    return case[1] is (COMMANDS.index(case[0]) % 2 == 0)


def _name(value: tuple[str, ...] | bool) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return "refused" if value else "said"


class Painting(HostileGateway):
    """Says everything with escapes; with ``refuses``, it refuses everything with escapes."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.behave, self.at = self._paint, "everything"
        await super().serve(reader, writer)

    def _answer(self, method: str, target: str, head: bytes, body: bytes) -> Reply:
        reply = super()._answer(method, target, head, body)
        reply.raw, reply.exchange = json.dumps(reply.exchange).encode(), "everything"
        return reply

    async def _paint(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        exchange = json.loads(reply.raw)
        if self.refuses or exchange not in SAID:
            writer.write(http(400, REFUSAL, "X-Request-Id: x\x1b[2Jy"))
        else:
            writer.write(http(200, envelope(json.dumps(SAID[exchange]))))


async def shown(directory: Path, gateway: HostileGateway, *args: str) -> str:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {
        "MOLTAZINE_API_KEY": KEY,
        "CRUCIBLE_API_BASE": gateway.url,
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    ours, theirs = os.pipe()
    process = await asyncio.to_thread(
        start_command, args, cwd=directory, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    with os.fdopen(ours, encoding="utf-8") as shown:
        out = await asyncio.to_thread(shown.read)
    await asyncio.to_thread(process.wait, 240)
    return out


@pytest.mark.parametrize(("args", "refuses"), quick_where(CASES, _is_quick), ids=_name)
async def test_no_word_of_the_gateway_reaches_the_terminal_as_it_came(
    tmp_path: Path, args: tuple[str, ...], refuses: bool
) -> None:
    (tmp_path / "m.yaml").write_text(
        "version: 1\nname: t\nworkflow: w\nbudget: {credits: 1}\njobs: [{name: a, prompt: p}]\n"
    )
    gateway = Painting(refuses=refuses)
    async with serving(gateway):
        text = await shown(tmp_path, gateway, *args)
    assert text.strip()
    obeyed = {
        each for each in text if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    } - {"\n"}
    assert obeyed == set(), text
    assert KEY not in text
    assert "PAINTED" not in text.replace("\n", "").replace(" ", "")  # a table breaks long words
