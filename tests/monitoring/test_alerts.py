import time
from datetime import UTC, datetime

from rjepa.monitoring.alerts import LoadFailure, find_alerts
from rjepa.monitoring.releases import ReleaseFigures, ReleaseHistory
from rjepa.monitoring.runs import RunState
from rjepa.monitoring.storage import Storage
from rjepa.monitoring.teachers import TeacherBudgets, TeacherJob
from rjepa.releases.history import AUTOMATIC, Move

GIB = 1024**3
ROOMY = Storage(folders=(), disk_total=1000 * GIB, disk_free=500 * GIB)


def releases(*, ece: float = 0.01, moves: tuple[Move, ...] = ()) -> ReleaseHistory:
    figures = ReleaseFigures(release_id="r", created_at=datetime.now(UTC), dataset="v1.0.0", served=True, ece=ece)
    return ReleaseHistory(llm_tag="tiny-a", current="r", releases=(figures,), moves=moves)


def job(spent: float, *, running: bool = True) -> TeacherBudgets:
    one = TeacherJob(
        name="first",
        running=running,
        budget_usd=10.0,
        spent_usd=spent,
        doubtful_usd=0.0,
        replies=1,
        failed=0,
        by_teacher_usd={"self": spent},
    )
    return TeacherBudgets(jobs=(one,), month_usd=spent, month_projected_usd=spent)


def run(status: str, ended: float) -> RunState:
    return RunState(
        run_id="1",
        job="llm",
        partition="tiny-a",
        status=status,
        started_at=ended - 60,
        ended_at=ended,
        steps_done=1,
        steps_total=2,
        failed_steps=(),
        current_steps=(),
    )


def test_nothing_amiss_raises_no_alert() -> None:
    assert find_alerts(releases(), ROOMY, job(1.0), [run("success", time.time())], None) == ()


def test_everything_amiss_is_named_and_the_worst_comes_first() -> None:
    refused = Move(
        at=datetime.now(UTC).isoformat(), action="refuse", source="r", target="s", reason="worse", decision=None
    )
    full = Storage(folders=(), disk_total=1000 * GIB, disk_free=1 * GIB)
    failure = LoadFailure(problem="release x lacks a file", cure="roll back")
    found = find_alerts(releases(ece=0.08, moves=(refused,)), full, job(9.5), [run("failure", time.time())], failure)
    assert [alert.level for alert in found] == ["bad", "bad", "warning", "warning", "warning", "warning"]
    assert {alert.kind for alert in found} == {
        "release_not_loaded",
        "disk_nearly_full",
        "run_failed",
        "gate_refused",
        "ece_above_target",
        "budget_nearly_spent",
    }


def test_a_disk_with_a_tenth_left_is_a_warning_and_nothing_worse() -> None:
    (alert,) = find_alerts(releases(), Storage(folders=(), disk_total=100 * GIB, disk_free=9 * GIB), None, [], None)
    assert (alert.kind, alert.level) == ("disk_nearly_full", "warning")


def test_old_failures_and_finished_jobs_are_left_alone() -> None:
    assert (
        find_alerts(releases(), ROOMY, job(9.9, running=False), [run("failure", time.time() - 3 * 86_400)], None) == ()
    )


def test_a_release_that_was_taken_back_is_an_alert_and_one_that_a_person_left_is_none() -> None:
    def left(reason: str) -> ReleaseHistory:
        now = datetime.now(UTC).isoformat()
        return releases(moves=(Move(at=now, action="rollback", source="bad", target="r", reason=reason),))

    (alert,) = find_alerts(left(f"{AUTOMATIC}: live health fell"), ROOMY, None, [], None)
    assert (alert.kind, alert.level, alert.figures["release"]) == ("taken_back", "bad", "bad")
    assert find_alerts(left("by hand"), ROOMY, None, [], None) == ()
