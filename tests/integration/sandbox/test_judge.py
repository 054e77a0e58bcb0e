"""The judge's window: what it shows and what it can change."""

import hashlib
from decimal import Decimal
from typing import Any

import pytest

from tests.harness.sandbox_audit import with_audit


async def test_the_judge_needs_no_key_and_sees_everything(client: Any, picture: Any) -> None:
    content = picture()
    asset_id = await client.upload(content)
    await client.upload(content)
    await client.generate("qwen-edit", "k", prompt__value="marker-7", image__image=asset_id)
    await client.generate("zimage-base")
    response = await client.storage.get(f"{client.running.api_url}/_sandbox/state")
    state = response.json()
    assert [(job["prompt"], job["idempotency_key"]) for job in state["jobs"]] == [
        ("marker-7", "k"),
        ("", None),
    ]
    assert state["jobs"][0]["params"]["image.image"] == asset_id
    assert state["requests"] == {"asset-create": 2, "upload": 2, "generate": 2}
    assert {"operation": "generate", "status": 202, "count": 2} in state["answers"]
    assert state["keyless_posts"] == 1
    assert state["uploads"] == {hashlib.sha256(content).hexdigest(): 2}
    assert [row["balance_after"] for row in state["ledger"]][:3] == [1000, 999.5, 999]
    assert with_audit(state)["audit"]["problems"] == []
    assert client.running.api_key not in response.text


async def test_prices_faults_and_time_can_be_changed_while_it_runs(client: Any) -> None:
    await client.configure(prices={"zimage-base": 1.25}, pricing="zimage-base.rise-after=2x4")
    prices = [(await client.job("zimage-base", f"k{n}"))["requested_credits"] for n in range(3)]
    assert prices == [Decimal("1.25"), Decimal("1.25"), 5]
    await client.configure(faults="credits.500-before=1")
    assert [(await client.api.get("/api/v1/credits")).status_code for _ in range(2)] == [500, 200]
    await client.configure(recent_entries=2)
    entries = (await client.get("/api/v1/credits"))["recent_entries"]
    assert [entry["entry_type"] for entry in entries] == ["consume", "reserve"]
    before = (await client.state())["now"]
    await client.configure(advance_s=1000)
    assert (await client.state())["now"] - before >= 1000


@pytest.mark.parametrize(
    "levers",
    [
        {"faults": "nonsense:1"},
        {"prices": {"zimage-base": -1}},
        {"prices": {"nope": 1}},
        {"advance_s": -1},
        {"recent_entries": -1},
        {"unknown": 1},
        [],
    ],
)
async def test_a_change_that_can_not_be_changes_nothing(client: Any, levers: Any) -> None:
    both = {"faults": "credits.500-before=1", **levers} if isinstance(levers, dict) else levers
    response = await client.api.post("/_sandbox/config", json=both)
    assert response.status_code == 400
    assert response.json()["error"]
    assert (await client.api.get("/api/v1/credits")).status_code == 200
