"""How much a client may ask, and that it takes nothing from others."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from rjepa.database import open_database
from rjepa.home import Home
from rjepa.keys import create_key
from serving.access import Principal
from serving.app import create_app
from serving.fairness import FairQueue, Job
from serving.limits import Admission, Bucket
from serving.settings import ServiceSettings
from tests.patience import PATIENCE, wait_until

from .fakes import FakeEngine, fake_loader, running, wait_for_release


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_fills_evenly_and_pays_its_debts() -> None:
    bucket = Bucket(60, 0.0)
    bucket.take(90, 0.0)
    assert bucket.level(0.0) == -30 and bucket.seconds_to(1, 0.0) == pytest.approx(31)
    assert bucket.level(31.0) == pytest.approx(1) and bucket.level(1000.0) == 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Callable[..., Admission]:
    def make(**limits: Any) -> Admission:
        return Admission(ServiceSettings(_env_file=None, **limits), lambda: 2.0, clock)

    return make


ALICE, BOB = Principal("key:a", "user"), Principal("key:b", "user")


def ask(admission: Admission, who: Principal, tokens: int = 0) -> str | None:
    """Ask and be answered at once; the reason of a refusal."""
    meter = admission.meter(who)
    refusal = admission.refusal(meter)
    if refusal is None:
        admission.enter(meter)
        meter.spend(tokens)
        admission.leave(meter)
    return None if refusal is None else refusal.reason


def test_so_many_questions_a_minute_and_a_refusal_costs_none(admission: Callable[..., Admission], clock: Clock) -> None:
    desk = admission(requests_per_minute=3)
    assert [ask(desk, ALICE) for _ in range(5)] == [None, None, None, "requests", "requests"]
    assert ask(desk, BOB) is None
    refusal = desk.refusal(desk.meter(ALICE))
    assert refusal is not None and refusal.retry == pytest.approx(20)
    clock.now += 20
    assert [ask(desk, ALICE) for _ in range(2)] == [None, "requests"]


def test_tokens_are_counted_when_they_are_used(admission: Callable[..., Admission], clock: Clock) -> None:
    desk = admission(tokens_per_minute=100)
    assert [ask(desk, ALICE, 60), ask(desk, ALICE, 60), ask(desk, ALICE, 60)] == [None, None, "tokens"]
    assert desk.meter(ALICE).headers() == {
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "72.000s",
    }
    clock.now += 13
    assert ask(desk, ALICE) is None


def test_a_key_s_own_limits_come_first(admission: Callable[..., Admission]) -> None:
    desk = admission(requests_per_minute=1)
    generous = Principal("key:c", "user", requests_per_minute=2)
    assert [ask(desk, generous) for _ in range(3)] == [None, None, "requests"]


def test_ten_thousand_clients_are_remembered_and_no_more(admission: Callable[..., Admission]) -> None:
    desk = admission(requests_per_minute=1)
    ask(desk, ALICE)
    busy = desk.meter(BOB)
    desk.enter(busy)
    for number in range(10_500):
        desk.meter(Principal(f"address:{number}", "user"))
    assert len(desk._meters) == 10_000 and desk.meter(BOB) is busy
    assert ask(desk, ALICE) is None  # forgotten


def test_clients_take_turns_however_many_questions_one_of_them_has() -> None:
    queue, done = FairQueue(), []
    for client, count in (("greedy", 5), ("modest", 1), ("other", 2)):
        for number in range(count):
            queue.put(Job(client, lambda client=client, number=number: not done.append(f"{client}{number}")))
    while len(queue):
        job = queue.take(1, wait=True)
        assert job is not None and job.turn()
    assert done == ["greedy0", "modest0", "other0", "greedy1", "other1", "greedy2", "greedy3", "greedy4"]


def test_a_job_that_is_taken_back_is_not_done_and_a_closed_queue_ends_its_threads() -> None:
    queue = FairQueue()
    jobs = [Job("a", lambda: True) for _ in range(3)]
    for job in jobs:
        queue.put(job)
    queue.drop(jobs[1])
    assert [queue.take(1, wait=True), queue.take(1, wait=True)] == [jobs[0], jobs[2]] and len(queue) == 0
    taken: list[Job | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take(1, wait=True)))
    thread.start()
    queue.close()
    thread.join(PATIENCE)
    late = Job("a", lambda: True)
    queue.put(late)
    assert taken == [None] and late.state == "dropped"


def test_jobs_that_write_run_side_by_side_as_long_as_there_is_room_and_leave_some_for_others() -> None:
    queue = FairQueue()

    def put(client: str, rows: int) -> Job:
        job = Job(client, lambda: True, rows)
        queue.put(job)
        return job

    greedy = [put("greedy", 3) for _ in range(3)]
    assert [queue.take(8, wait=False) for _ in range(3)] == [greedy[0], greedy[1], None]  # its share is 6 of 8
    scoring, modest = put("greedy", 0), put("modest", 2)
    assert queue.take(8, wait=False) is modest
    other = put("other", 1)
    assert queue.take(8, wait=False) is None  # no room for it now
    queue.end(modest)
    assert queue.take(8, wait=False) is other
    queue.end(greedy[0])
    assert [queue.take(8, wait=False) for _ in range(2)] == [greedy[2], scoring]
    for job in (greedy[1], greedy[2], other):
        queue.end(job)
    large, small = put("greedy", 100), put("modest", 1)
    assert queue.take(8, wait=True) is large and queue.take(8, wait=False) is None  # it runs alone
    queue.end(large)
    assert queue.take(8, wait=True) is small


def body(statement: str, **more: object) -> dict[str, object]:
    return {"model": "tiny-a", "messages": [{"role": "user", "content": statement}], **more}


@pytest.fixture
def service(home: Home, engines: list[FakeEngine]) -> Any:
    """A running service with given settings, and keys of two people: (address, alice, bob)."""

    @contextmanager
    def make(**settings: Any) -> Iterator[tuple[str, str, str]]:
        with open_database(home) as database:
            alice, bob = (create_key(database, name, "user")[0] for name in ("alice", "bob"))
        whole = ServiceSettings(home=home.root, reload_seconds=0.05, require_key=True, **settings)
        app = create_app(whole, fake_loader(home, engines))
        with running(app) as address:
            wait_for_release(app)
            yield address, alice, bob

    return make


def post(address: str, key: str, statement: str, **more: object) -> httpx.Response:
    return httpx.post(
        f"{address}/v1/chat/completions",
        json=body(statement, **more),
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
    )


def test_the_openai_client_knows_our_limits_by_their_headers(service: Any) -> None:
    with service(requests_per_minute=2, tokens_per_minute=50) as (address, alice, bob):
        with openai.OpenAI(base_url=f"{address}/v1", api_key=alice, max_retries=0) as client:
            ask = client.chat.completions.with_raw_response.create
            first = ask(model="tiny-a", messages=[{"role": "user", "content": "x"}])
            assert first.headers["x-ratelimit-limit-requests"] == "2"
            assert first.headers["x-ratelimit-remaining-requests"] == "1"
            assert 17 <= int(first.headers["x-ratelimit-remaining-tokens"]) <= 19  # 20 written, 12 read
            ask(model="tiny-a", messages=[{"role": "user", "content": "x"}])
            with pytest.raises(openai.RateLimitError) as refused:
                ask(model="tiny-a", messages=[{"role": "user", "content": "x"}])
            assert (
                refused.value.code == "rate_limit_exceeded" and int(refused.value.response.headers["retry-after"]) > 0
            )
            assert refused.value.type == "rate_limit_error"
            client.models.list()  # costs the model nothing
        assert post(address, bob, "x").status_code == 200


def test_a_client_with_too_many_at_a_time_is_refused_and_others_are_not(service: Any) -> None:
    with service(max_in_flight=2, max_waiting=8) as (address, alice, bob), ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(post, address, alice, "slow") for _ in range(4)]
        wait_until(lambda: sum(one.done() for one in asked) == 2)
        refused = [one.result() for one in asked if one.done()]
        assert [one.status_code for one in refused] == [429, 429]
        assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
        assert post(address, bob, "x").status_code == 200
        assert sorted(one.result().status_code for one in asked) == [200, 200, 429, 429]


def test_a_stream_past_the_queue_is_refused_before_it_begins(service: Any) -> None:
    with service(max_waiting=1) as (address, alice, bob), ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, address, alice, "slow")
        wait_until(lambda: "rjepa_in_flight 1.0" in metrics(address, bob))
        refused = post(address, bob, "x", stream=True)
        assert refused.status_code == 429 and refused.headers["content-type"] == "application/json"
        assert first.result().status_code == 200


def metrics(address: str, key: str) -> str:
    return httpx.get(f"{address}/metrics", headers={"authorization": f"Bearer {key}"}).text


def test_a_modest_client_waits_for_one_question_of_a_greedy_one(service: Any, engines: list[FakeEngine]) -> None:
    with service(max_in_flight=6) as (address, alice, bob), ThreadPoolExecutor(6) as pool:
        greedy = [pool.submit(post, address, alice, f"slow {number}") for number in range(5)]
        wait_until(lambda: "rjepa_queue_length 4.0" in metrics(address, bob))
        assert post(address, bob, "modest").status_code == 200
        order = [question.statement for question in engines[-1].calls]
        assert order.index("modest") <= 2
        assert all(one.result().status_code == 200 for one in greedy)


def test_figures_say_what_was_answered_and_refused(service: Any) -> None:
    with service(requests_per_minute=2) as (address, alice, bob):
        post(address, alice, "x", rjepa={"mode": "rerank", "num_candidates": 2})
        post(address, alice, "x")
        post(address, alice, "x")
        post(address, "wrong", "x")
        text = metrics(address, bob)
    for line in (
        'rjepa_requests_total{method="POST",route="/v1/chat/completions",status="200"} 2.0',
        'rjepa_requests_total{method="POST",route="-",status="401"} 1.0',
        'rjepa_rejected_total{reason="requests"} 1.0',
        'rjepa_rejected_total{reason="no_key"} 1.0',
        'rjepa_tokens_total{kind="generated"} 60.0',
        "rjepa_answer_p_correct_count 1.0",
        "rjepa_answer_energy_count 1.0",
        "rjepa_in_flight 0.0",
        'rjepa_reloads_total{outcome="ok"} 1.0',
    ):
        assert line in text, line
    assert 'rjepa_release{llm="tiny-a",release="' in text and "alice" not in text and alice[6:18] not in text
