"""What calls cost, what is reserved, and what happens where an endpoint's own count is not to be believed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rjepa.errors import CorruptError, InvalidInputError
from rjepa.home import Home
from rjepa.teacher import JobPlan, Teacher, job_spending, run_job
from rjepa.teacher.calls import JOURNAL
from rjepa.teacher.jobs import job_folder
from rjepa.teacher.journal import Journal
from rjepa.teacher.ledger import BudgetError, Ledger, price

from .conftest import problems, teacher
from .scripted import Asked, Says, chain, completion

ONE = JobPlan(chains_per_problem=1)
TEXT = '{"steps": ["3 + 4 = 7"], "final_answer": "7"}'


def entries(home: Home, job: str = "job") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job_folder(home, job) / JOURNAL).read_text().splitlines()]


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


def test_a_call_that_does_not_fit_waits_for_those_in_flight_and_is_refused_only_when_none_is_left() -> None:
    async def work() -> None:
        ledger = Ledger(1, 0)
        await ledger.reserve(700_000_000)
        waiting = asyncio.create_task(ledger.reserve(600_000_000))
        await asyncio.sleep(0)
        assert not waiting.done()
        await ledger.settle(700_000_000, 300_000_000)
        await asyncio.wait_for(waiting, 1)
        waiting = asyncio.create_task(ledger.reserve(600_000_000))
        await ledger.settle(600_000_000, 600_000_000)
        with pytest.raises(BudgetError, match=r"\$0.1000 are left"):
            await asyncio.wait_for(waiting, 1)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("prompt", "completion_tokens"), [(0, 0), (-5, -1_000_000), (None, None), ("9", 1.5), (True, [3])]
)
def test_usage_that_claims_too_little_is_replaced_by_our_own_count(
    serve: Any, home: Home, prompt: Any, completion_tokens: Any
) -> None:
    server = serve(lambda asked: Says(completion(TEXT, prompt, completion_tokens)))
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    last = entries(home)[-1]
    assert last["tokens"][0] > 100 and last["tokens"][1] == -(-len(TEXT) // 4)
    assert last["nano"] == sum(last["tokens"]) * 20_000 == result.spending.spent
    assert "above_reserve" not in last


def test_usage_above_the_worst_case_counts_in_full_and_is_told(serve: Any, home: Home) -> None:
    server = serve(lambda asked: Says(completion(TEXT, 100, 40_000)))
    result = run_job(home, "job", [teacher(server)], ONE, problems(20), budget_usd=2)
    assert result.spending.above_reserve == len(server.asked) > 0
    assert result.figures()["teacher_above_reserve"] == len(server.asked)
    assert result.stopped is not None and len(server.asked) < 20
    assert all(one["above_reserve"] > 0 for one in entries(home) if one["event"] == "replied")


def test_an_attempt_that_was_sent_and_not_answered_counts_as_its_worst_case(serve: Any, home: Home) -> None:
    server = serve(lambda asked: chain() if asked.times > 1 else Says(chain().body, cut=50))
    run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    reserved, replied = entries(home)
    assert replied["attempts"] == 2
    assert replied["doubtful_nano"] * 5 == reserved["nano"], "one of at most five attempts"
    assert replied["nano"] > replied["doubtful_nano"]
    assert job_spending(home, "job")[0].doubtful == replied["doubtful_nano"]


def test_a_refusal_with_a_status_costs_nothing(serve: Any, home: Home) -> None:
    server = serve(lambda asked: Says("{}", 503, {"retry-after-ms": "1"}))
    result = run_job(home, "job", [teacher(server)], ONE, problems(2), budget_usd=5)
    assert result.spending.spent == 0 and result.spending.failed == 2
    assert [one.reason for one in result.failures] == ["http_503"] * 2
    server.script = lambda asked: chain()
    assert len(run_job(home, "job", [teacher(server)], ONE, problems(2), budget_usd=5).chains) == 2


def test_an_answer_that_is_no_completion_was_made_all_the_same(serve: Any, home: Home) -> None:
    server = serve(lambda asked: Says("<html>hello</html>") if len(asked.body["messages"]) == 2 else chain())
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert len(result.chains) == 1
    first = next(one for one in entries(home) if one["event"] == "replied")
    assert first["tokens"][1] == 100 and first["reply"] == "<html>hello</html>"
    run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert len(server.asked) == 2


def test_no_price_no_budget_unless_the_model_is_at_home(serve: Any, home: Home) -> None:
    far = Teacher(name="far", base_url="https://api.example.com/v1", model="m")
    with pytest.raises(InvalidInputError, match="no prices") as caught:
        run_job(home, "job", [far], ONE, problems(1), budget_usd=5)
    assert "TEACHER_FAR_USD_PER_MTOK_IN" in caught.value.cure
    near = Teacher(name="near", base_url=serve(lambda asked: chain()).url, model="m")
    assert run_job(home, "job", [near], ONE, problems(1), budget_usd=0).spending.spent == 0


def test_a_job_runs_once_at_a_time(home: Home) -> None:
    path = job_folder(home, "job") / JOURNAL

    async def work() -> None:
        first = Journal(path)
        with pytest.raises(InvalidInputError, match="another process"):
            Journal(path)
        await first.close()
        await Journal(path).close()

    asyncio.run(work())


def test_a_line_that_a_kill_cut_short_is_dropped_and_damage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"

    async def opened() -> list[str]:
        journal = Journal(path)
        await journal.append({"event": "reserved", "key": "new"})
        await journal.close()
        return [json.loads(line)["key"] for line in path.read_text().splitlines()]

    path.write_text('{"event":"reserved","key":"old"}\n{"event":"rep')
    assert asyncio.run(opened()) == ["old", "new"]
    path.write_text('{"event":"reserved","key":"old"}\n!!\n{"event":"x","key":"y"}\n')
    with pytest.raises(CorruptError, match="line 2"):
        asyncio.run(opened())


def test_a_teacher_that_refuses_its_key_is_left_out_and_the_others_go_on(serve: Any, home: Home) -> None:
    def script(asked: Asked) -> Says:
        return Says("{}", 401) if asked.model == "model-ben" else chain()

    server = serve(script)
    result = run_job(home, "job", [teacher(server), teacher(server, "ben")], ONE, problems(30), budget_usd=5)
    assert len(result.chains) == 30 and {one.source for one in result.chains} == {"teacher:ada"}
    assert "TEACHER_BEN_API_KEY" in result.refused["ben"].cure
    assert sum(asked.model == "model-ben" for asked in server.asked) <= 8, "those in flight when the first was refused"
