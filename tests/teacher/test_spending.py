"""What calls cost, what is reserved, and what happens where an endpoint's own count is not to be believed."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from rjepa.database import open_database
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.teacher import JobPlan, Teacher, job_spending, run_job
from rjepa.teacher.ledger import BudgetError, Cost, open_ledger
from rjepa.teacher.pricing import price
from rjepa.teacher.tables import CALLS, JOBS

from .conftest import problems, teacher
from .scripted import Answer, Request, chain, completion

ONE = JobPlan(chains_per_problem=1)
TEXT = '{"steps": ["3 + 4 = 7"], "final_answer": "7"}'


def calls(home: Home) -> list[Any]:
    """The rows of every call, in the order in which they were made."""
    with open_database(home) as database, database.reading() as connection:
        return list(connection.execute(select(CALLS).order_by(CALLS.c.id)))


def test_a_price_is_exact_and_rounded_up() -> None:
    who = Teacher(name="a", base_url="http://x/v1", model="m", usd_per_mtok_in=0.1, usd_per_mtok_out=0.0001)
    assert price(who, 1_000_000, 0) == 100_000_000
    assert price(who, 0, 1) == 1


def test_a_job_stops_before_a_call_that_could_break_the_budget_and_goes_on_with_a_larger_one(
    serve: Any, home: Home
) -> None:
    server = serve(lambda asked: chain(prompt_tokens=500, completion_tokens=50))
    who = [teacher(server, max_retries=0)]
    result = run_job(home, "job", who, ONE, problems(40), budget_usd=0.2)
    assert isinstance(result.stopped, BudgetError) and "--budget" in result.stopped.cure
    spent, budget = job_spending(home, "job")
    assert 0.1 < spent.spent / 1e9 <= 0.2 and budget == 0.2
    assert 0 < len(result.chains) < 40 and len(server.asked) == len(result.chains)
    again = run_job(home, "job", who, ONE, problems(40), budget_usd=0.2)
    assert again.stopped is not None and len(again.chains) == len(result.chains) == len(server.asked)
    whole = run_job(home, "job", who, ONE, problems(40), budget_usd=5)
    assert whole.stopped is None and len(whole.chains) == 40
    assert len(server.asked) == 40 and set(server.answered.values()) == {1}


def test_a_call_that_does_not_fit_waits_for_those_in_flight_and_is_refused_only_when_none_is_left(
    each_database: str, home: Home
) -> None:
    async def work() -> None:
        with open_database(home) as database:
            async with open_ledger(database, "job", budget_usd=1) as ledger:
                first = await ledger.reserve("a", "ada", 700_000_000)
                waiting = asyncio.create_task(ledger.reserve("b", "ada", 600_000_000))
                await asyncio.sleep(0.2)
                assert not waiting.done()
                await ledger.keep_reply(first, Cost(300_000_000, 0, 1), {}, "{}")
                second = await waiting
                waiting = asyncio.create_task(ledger.reserve("c", "ada", 600_000_000))
                await ledger.keep_failure(second, Cost(600_000_000, 0, 1), "http_500", "")
                with pytest.raises(BudgetError, match=r"\$0.1000 are left"):
                    await waiting

    asyncio.run(work())


@pytest.mark.parametrize(
    ("prompt", "completion_tokens"), [(0, 0), (-5, -1_000_000), (None, None), ("9", 1.5), (True, [3])]
)
def test_usage_that_claims_too_little_is_replaced_by_our_own_count(
    serve: Any, home: Home, prompt: Any, completion_tokens: Any
) -> None:
    server = serve(lambda asked: Answer(completion(TEXT, prompt, completion_tokens)))
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    (call,) = calls(home)
    assert call.prompt_tokens > 100 and call.completion_tokens == -(-len(TEXT) // 4)
    assert call.cost_nano == (call.prompt_tokens + call.completion_tokens) * 20_000 == result.spending.spent
    assert call.above_reserve_nano == 0


def test_usage_above_the_worst_case_counts_in_full_and_is_told(serve: Any, home: Home) -> None:
    server = serve(lambda asked: Answer(completion(TEXT, 100, 40_000)))
    result = run_job(home, "job", [teacher(server)], ONE, problems(20), budget_usd=2)
    assert result.spending.above_reserve == len(server.asked) > 0
    assert result.figures()["teacher_above_reserve"] == len(server.asked)
    assert result.stopped is not None and len(server.asked) < 20
    assert all(call.above_reserve_nano > 0 for call in calls(home) if call.state == "replied")


def test_an_attempt_that_was_sent_and_not_answered_counts_as_its_worst_case(serve: Any, home: Home) -> None:
    server = serve(lambda asked: chain() if asked.times > 1 else Answer(chain().body, cut=50))
    run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    (call,) = calls(home)
    assert call.attempts == 2
    assert call.doubtful_nano * 5 == call.reserved_nano, "one of at most five attempts"
    assert call.cost_nano > call.doubtful_nano
    assert job_spending(home, "job")[0].doubtful == call.doubtful_nano


def test_a_refusal_with_a_status_costs_nothing(serve: Any, home: Home) -> None:
    server = serve(lambda asked: Answer("{}", 503, {"retry-after-ms": "1"}))
    result = run_job(home, "job", [teacher(server)], ONE, problems(2), budget_usd=5)
    assert result.spending.spent == 0 and result.spending.failed == 2
    assert [one.reason for one in result.failures] == ["http_503"] * 2
    server.script = lambda asked: chain()
    assert len(run_job(home, "job", [teacher(server)], ONE, problems(2), budget_usd=5).chains) == 2


def test_a_body_that_is_no_answer_is_not_kept_as_one_but_may_have_been_billed(serve: Any, home: Home) -> None:
    server = serve(lambda asked: Answer("<html>hello</html>"))
    who = teacher(server, max_retries=1)
    result = run_job(home, "job", [who], ONE, problems(1), budget_usd=5)
    assert [(one.reason, one.detail, one.transient) for one in result.failures] == [("not_a_completion", "hello", True)]
    (call,) = calls(home)
    assert (call.state, call.reply, call.attempts) == ("failed", None, 2)
    assert call.cost_nano == call.doubtful_nano == call.reserved_nano, "each of its two attempts, at its worst case"
    server.script = lambda asked: chain()
    again = run_job(home, "job", [who], ONE, problems(1), budget_usd=5)
    assert len(again.chains) == 1 and len(server.asked) == 3


def test_no_price_no_budget_unless_the_model_is_at_home(serve: Any, home: Home) -> None:
    far = Teacher(name="far", base_url="https://api.example.com/v1", model="m")
    with pytest.raises(InvalidInputError, match="no prices") as caught:
        run_job(home, "job", [far], ONE, problems(1), budget_usd=5)
    assert "TEACHER_FAR_USD_PER_MTOK_IN" in caught.value.cure
    near = Teacher(name="near", base_url=serve(lambda asked: chain()).url, model="m")
    assert run_job(home, "job", [near], ONE, problems(1), budget_usd=0).spending.spent == 0


def test_a_job_runs_once_at_a_time(each_database: str, home: Home) -> None:
    async def work() -> None:
        with open_database(home) as database:
            async with open_ledger(database, "job", 1):
                with pytest.raises(InvalidInputError, match="another process"):
                    async with open_ledger(database, "job", 1):
                        pass
                async with open_ledger(database, "other", 1):
                    pass
            async with open_ledger(database, "job", 1):
                pass

    asyncio.run(work())


def test_a_runner_that_cannot_be_seen_counts_as_alive_for_a_minute_and_writes_no_more_once_it_is_replaced(
    each_database: str, home: Home
) -> None:
    """As a process of another machine, which was only cut off for a while."""

    async def work() -> None:
        with open_database(home) as database:
            async with open_ledger(database, "job", 1) as first:
                reservation = await first.reserve("a", "ada", 100)
                far = {"runner_process": "elsewhere/1|7|0.00"}
                database.transact(lambda connection: connection.execute(update(JOBS).values(**far)))
                with pytest.raises(InvalidInputError, match="another process"):
                    async with open_ledger(database, "job", 1):
                        pass
                database.transact(lambda connection: connection.execute(update(JOBS).values(runner_until_ms=1)))
                async with open_ledger(database, "job", 1) as second:
                    assert second.spent == 100, "what it had in flight counts in full"
                    with pytest.raises(InvalidInputError, match="took the job 'job' over"):
                        await first.keep_reply(reservation, Cost(1, 0, 1), {}, "{}")
                    await second.reserve("a", "ada", 50)

    asyncio.run(work())
    assert [(call.state, call.cost_nano) for call in calls(home)] == [("lost", 100), ("open", 0)]


def test_a_teacher_that_refuses_its_key_is_left_out_and_the_others_go_on(serve: Any, home: Home) -> None:
    def script(asked: Request) -> Answer:
        return Answer("{}", 401) if asked.model == "model-ben" else chain()

    server = serve(script)
    result = run_job(home, "job", [teacher(server), teacher(server, "ben")], ONE, problems(30), budget_usd=5)
    assert len(result.chains) == 30 and {one.source for one in result.chains} == {"teacher:ada"}
    assert "TEACHER_BEN_API_KEY" in result.refused["ben"].cure
    assert sum(asked.model == "model-ben" for asked in server.asked) <= 8, "those in flight when the first was refused"
