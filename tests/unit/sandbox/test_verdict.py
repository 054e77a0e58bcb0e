"""The judge: what it takes for bought twice or over the budget, and what it only hints at."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from crucible_batch.sandbox.assets import Arrival, Intent
from crucible_batch.sandbox.config import DEFAULT_KEY, SandboxConfig
from crucible_batch.sandbox.faults import parse_faults
from crucible_batch.sandbox.gateway import Gateway
from crucible_batch.sandbox.jobs import Order
from crucible_batch.sandbox.judge import judge
from crucible_batch.sandbox.records import Job
from crucible_batch.sandbox.store import Store
from crucible_batch.sandbox.verdict import Verdict

LONG_AFTER = 1000.0


class Client:
    """Buys in a world without a network; what it was answered and has downloaded is set by hand."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.time = 0.0
        self.gateway = Gateway(SandboxConfig(**settings), store, lambda: self.time)
        self.account = self.gateway.world.authenticate(DEFAULT_KEY)

    def buy(
        self, key: str | None, *, answered: bool = True, downloaded: bool = True, **params: object
    ) -> Job:
        workflow = "qwen-edit" if "image__image" in params else "zimage-base"
        given = {name.replace("__", "."): value for name, value in params.items()}
        order = Order(workflow, given, key)
        job, _ = self.gateway.world.submit(self.account, order, self.time)
        if answered:
            self.gateway.seen.answered.add(job.job_id)
        if downloaded and job.error_code is None:
            self.gateway.seen.downloaded.add(job.job_id)
        return job

    def upload(self, sha256: str | None, filename: str = "mug.png", size: int = 10) -> str:
        """Pay for an upload. Without a digest, its bytes never arrive."""
        world, intent = self.gateway.world, Intent("image/png", size, filename, {})
        asset = world.create_asset(self.account, intent, self.time)
        if sha256 is not None:
            world.receive(asset.asset_id, Arrival(sha256, 30, 20), self.time)
            self.time += 1
        return asset.asset_id

    def verdict(self) -> Verdict:
        self.time += LONG_AFTER
        return judge(self.gateway)

    def faults(self) -> list[tuple[str, Decimal]]:
        return [(finding.kind, finding.credits) for finding in self.verdict().faults]

    def hints(self) -> list[str]:
        return [finding.kind for finding in self.verdict().hints]


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as store:
        yield store


@pytest.fixture
def client(store: Store) -> Client:
    return Client(store)


def test_the_same_key_again_is_the_same_purchase(client: Client) -> None:
    client.buy("k", answered=False, downloaded=False)
    client.buy("k")
    assert (client.faults(), client.hints()) == ([], [])


@pytest.mark.parametrize("downloaded", [True, False])
def test_a_job_that_its_client_never_heard_of_beside_an_equal_one_is_bought_twice(
    client: Client, downloaded: bool
) -> None:
    client.buy("a", answered=False, downloaded=False)
    client.buy("b", downloaded=downloaded)
    assert (client.faults(), client.hints()) == ([("bought-twice", Decimal(2))], [])


def test_a_job_that_is_never_downloaded_beside_an_equal_one_is_bought_twice(
    client: Client,
) -> None:
    client.buy("a", downloaded=False)
    client.buy(None)
    client.buy("c", downloaded=False)
    [fault] = client.verdict().faults
    assert (fault.kind, fault.credits) == ("bought-twice", Decimal(4))
    assert fault.text == 'zimage-base "": bought 3 times, downloaded 1'
    assert [line.split(", ")[1:] for line in fault.details] == [
        ["key a", "never downloaded"],
        ["without a key"],
        ["key c", "never downloaded"],
    ]


def test_equal_jobs_that_are_all_downloaded_are_a_hint(client: Client) -> None:
    for key in "abc":
        client.buy(key, prompt__text="four takes")
    client.buy("d", prompt__text="another prompt")
    assert (client.faults(), client.hints()) == ([], ["equal-jobs"])


def test_equal_jobs_that_are_not_finished_are_hints(client: Client) -> None:
    client.buy("a", downloaded=False)
    client.buy("b", downloaded=False)
    assert (client.faults(), client.hints()) == ([], ["equal-jobs", "not-downloaded"])


def test_where_nothing_is_wanted_twice_equal_jobs_are_bought_twice(store: Store) -> None:
    client = Client(store, wanted_once=True)
    for key in "abc":
        client.buy(key)
    assert client.faults() == [("bought-twice", Decimal(4))]


def test_a_failed_job_may_be_bought_again(store: Store) -> None:
    client = Client(store, faults=parse_faults("fail=2"), wanted_once=True)
    for key in "abc":
        client.buy(key)
    verdict = client.verdict()
    assert (verdict.faults, verdict.hints) == ((), ())
    assert (verdict.jobs, verdict.failed, verdict.charged_for_jobs) == (3, 2, Decimal(2))


def test_jobs_are_equal_by_the_bytes_of_their_image_and_not_by_its_id(client: Client) -> None:
    first, second, other = client.upload("aa"), client.upload("aa"), client.upload("bb")
    for key, asset, is_downloaded in (("a", first, False), ("b", second, True), ("c", other, True)):
        client.buy(key, downloaded=is_downloaded, image__image=asset)
    assert [kind for kind, _ in client.faults()] == ["bought-twice"]


def test_what_is_reserved_counts_towards_the_budget(store: Store) -> None:
    client = Client(store, budget=Decimal(5), time_scale=1)
    for key in "abc":
        client.buy(key, prompt__text=key)
    [fault] = client.verdict().faults
    assert (fault.kind, fault.credits) == ("over-budget", Decimal(1))
    assert fault.details[0].startswith("since reserve of 2 for job ")


def test_each_time_over_the_budget_is_told(store: Store) -> None:
    client = Client(store, budget=Decimal("2.4"), upload_price=Decimal("0.5"))
    client.buy("a")
    for _ in range(2):
        asset = client.upload(None)
        client.gateway.world.delete_asset(client.account, asset, client.time)
    assert client.faults() == [("over-budget", Decimal("0.1"))] * 2


def test_a_budget_may_be_spent_whole_and_refunds_spent_again(store: Store) -> None:
    client = Client(store, budget=Decimal(2), faults=parse_faults("fail=1"))
    client.buy("a")
    client.time += LONG_AFTER
    client.buy("b")
    verdict = client.verdict()
    assert (verdict.faults, verdict.most) == ((), Decimal(2))


def test_an_upload_without_a_use_beside_a_used_one_is_bought_twice(client: Client) -> None:
    lost, used, extra = client.upload(None), client.upload("aa"), client.upload("aa")
    client.buy("a", image__image=used)
    assert client.faults() == [("uploaded-twice", Decimal("0.5"))] * 2
    for asset in (lost, extra):
        client.gateway.world.delete_asset(client.account, asset, client.time)
    assert (client.faults(), client.hints()) == ([], [])


@pytest.mark.parametrize("declared", [{"filename": "other.png"}, {"size": 11}])
def test_an_upload_whose_bytes_never_came_is_known_by_what_was_declared(
    client: Client, declared: dict[str, Any]
) -> None:
    client.upload(None, **declared)
    client.buy("a", image__image=client.upload("aa"))
    assert (client.faults(), client.hints()) == ([], ["not-used"])


def test_an_upload_whose_bytes_came_is_known_by_them(client: Client) -> None:
    client.upload("bb")
    client.buy("a", image__image=client.upload("aa"))
    assert (client.faults(), client.hints()) == ([], ["not-used"])


def test_equal_uploads_that_are_all_used_are_a_hint(client: Client) -> None:
    for key in "ab":
        client.buy(key, image__image=client.upload("aa"), prompt__value=key)
    assert (client.faults(), client.hints()) == ([], ["equal-uploads"])


def test_an_upload_that_costs_nothing_is_never_bought_twice(store: Store) -> None:
    client = Client(store, upload_price=Decimal(0))
    client.upload(None)
    client.buy("a", image__image=client.upload("aa"))
    assert (client.faults(), client.hints()) == ([], [])


def test_a_key_that_reached_the_storage_is_a_fault_and_other_slips_are_hints(
    client: Client,
) -> None:
    client.gateway.report("key-at-storage", "download", "an API key reached the storage")
    client.gateway.report("wrong-size", "upload", "9 bytes")
    client.gateway.seen.keyless_posts = 1
    client.gateway.seen.keys_of_other_jobs = 1
    assert client.faults() == [("key-at-storage", Decimal(0))]
    assert client.hints() == ["no-key", "key-of-another-job", "bad-request"]


def test_jobs_under_way_are_named(client: Client) -> None:
    client.buy("a")
    verdict = judge(client.gateway)
    assert [hint.kind for hint in verdict.hints] == ["not-ended"]
    assert (verdict.reserved, verdict.charged_for_jobs) == (Decimal(2), Decimal(0))
