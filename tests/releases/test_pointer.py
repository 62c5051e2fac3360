import multiprocessing
from pathlib import Path

import pytest

from rjepa.errors import CorruptError, NotFoundError, StorageError
from rjepa.evaluation.records import list_records
from rjepa.home import Home
from rjepa.releases.bundle import list_releases, release_folder
from rjepa.releases.history import history
from rjepa.releases.pointer import current_release, promote, require_current, rollback
from rjepa.releases.publish import release
from tests.records import make_record

from .conftest import Publisher


def test_the_first_release_is_served_and_says_that_it_replaced_nothing(publisher: Publisher) -> None:
    report = publisher.publish(1)
    assert report.current == current_release(publisher.home, "tiny-a") == report.manifest.release_id
    assert report.manifest.replaces is None
    assert (publisher.home.releases("tiny-a") / "CURRENT").read_text() == f"{report.current}\n"


def test_without_a_release_the_error_names_the_cure(home: Home) -> None:
    assert current_release(home, "tiny-a") is None
    with pytest.raises(NotFoundError, match="make demo"):
        require_current(home, "tiny-a")


def test_publishing_the_same_content_again_changes_nothing(publisher: Publisher) -> None:
    publisher.publish(1)
    before = history(publisher.home, "tiny-a")
    assert publisher.publish(1).decision.reason == "already_current"
    assert history(publisher.home, "tiny-a") == before


def test_what_only_speaks_in_another_way_is_served_on_however_few_problems(publisher: Publisher) -> None:
    publisher.publish(1, problems=30)
    assert publisher.publish(2, problems=30).decision.reason == "too_few_problems"
    added = publisher.publish(1, problems=30, speaking=1, rule="improve")
    assert added.decision.reason == "same_choice" and added.current == added.manifest.release_id
    assert history(publisher.home, "tiny-a")[-1].reason == "same_choice"
    # Another verbaliser may be worse than the served one: `improve` refuses it, `replace` trusts who asked for it.
    assert not publisher.publish(1, problems=30, speaking=2, rule="improve").decision.promote
    changed = publisher.publish(1, problems=30, speaking=2)
    assert changed.decision.reason == "same_choice" and changed.decision.promote
    silent = publisher.publish(1, problems=30)
    assert silent.decision.reason == "too_few_problems" and silent.current == changed.current
    assert publisher.publish(1, problems=30, speaking=3, passed=False).decision.reason == "diagnostics_failed"


def test_a_worse_release_is_kept_but_not_served_and_the_decision_is_recorded(publisher: Publisher) -> None:
    good = publisher.publish(1, 0.6).manifest.release_id
    bad = publisher.publish(2, 0.4)
    assert not bad.decision.promote and bad.current == good == current_release(publisher.home, "tiny-a")
    assert len(list_releases(publisher.home, "tiny-a")) == 2
    last = history(publisher.home, "tiny-a")[-1]
    assert (last.action, last.reason, last.target) == ("refuse", "worse", bad.manifest.release_id)
    assert last.source == good and last.decision is not None and last.decision.rule == "replace"
    finding = last.decision.findings[0]
    assert (finding.challenger_accuracy, finding.current_accuracy, finding.margin) == (0.4, 0.6, 0.03)


def test_the_served_release_is_judged_again_where_the_candidates_are_others(publisher: Publisher) -> None:
    """Sampled again at K = 16, the old record (K = 8, 80 % right) says nothing of the new candidates."""
    first = publisher.publish(1, 0.6).manifest.release_id
    publisher.publish(2, 0.6)
    assert publisher.judged == []
    second = publisher.publish(2, 0.6).manifest.release_id
    report = publisher.publish(3, 0.4, candidates="e" * 64)
    assert publisher.judged == [second] != [first]
    assert report.decision.reason == "worse" and report.decision.candidates == "e" * 64


def test_an_evaluation_of_other_parts_releases_nothing(publisher: Publisher) -> None:
    sources, facts = publisher.sources(1), publisher.facts()
    other = make_record("f" * 64, [True, False])
    with pytest.raises(ValueError, match="was not what the evaluation judged"):
        release(publisher.home, "tiny-a", "v1.0.0", sources, facts, challenger=other, judge=lambda current: other)
    assert current_release(publisher.home, "tiny-a") is None


def test_what_was_made_for_another_student_is_replaced_for_a_person_and_not_by_the_night(publisher: Publisher) -> None:
    first = publisher.publish(1, 0.5).manifest.release_id
    at_night = publisher.publish(2, 0.9, student="7" * 64, rule="improve")
    assert at_night.current == first and at_night.decision.reason == "other_student"
    assert publisher.publish(2, 0.9, student="7" * 64).decision.promote


def test_a_damaged_release_is_replaced_for_a_person_and_not_by_the_night(publisher: Publisher) -> None:
    first = publisher.publish(1, 0.5).manifest.release_id
    (release_folder(publisher.home, "tiny-a", first) / "calibration.json").write_text("{}")
    assert publisher.publish(2, 0.9, rule="improve").decision.reason == "damaged"
    assert publisher.publish(2, 0.1).decision.promote


def test_equal_content_keeps_its_id_and_gains_evaluations(publisher: Publisher) -> None:
    first = publisher.publish(1, 0.5).manifest
    again = publisher.publish(1, 0.5, candidates="e" * 64).manifest
    assert again.release_id == first.release_id
    records = list_records(publisher.home, "tiny-a", first.content_hash)
    assert [record.candidates.sha256[0] for record in records] == ["c", "e"]


def test_a_first_release_without_skill_is_not_served(publisher: Publisher) -> None:
    assert publisher.publish(1, passed=False).current is None
    assert current_release(publisher.home, "tiny-a") is None


def test_rolling_back_goes_one_further_back_each_time(publisher: Publisher) -> None:
    first, second, third = (publisher.publish(seed).manifest.release_id for seed in (1, 2, 3))
    assert rollback(publisher.home, "tiny-a") == second
    assert rollback(publisher.home, "tiny-a") == first == current_release(publisher.home, "tiny-a")
    with pytest.raises(NotFoundError, match="--to"):
        rollback(publisher.home, "tiny-a")
    assert rollback(publisher.home, "tiny-a", third, reason="it was fine") == third
    assert history(publisher.home, "tiny-a")[-1].reason == "it was fine"


def test_nothing_damaged_can_be_rolled_back_to(publisher: Publisher) -> None:
    first = publisher.publish(1).manifest.release_id
    second = publisher.publish(2).manifest.release_id
    (release_folder(publisher.home, "tiny-a", first) / "calibration.json").unlink()
    with pytest.raises(CorruptError):
        rollback(publisher.home, "tiny-a")
    assert current_release(publisher.home, "tiny-a") == second


@pytest.mark.parametrize("text", ["", "../../etc", "20260101T000000Z-aaaaaaaaaaaa"])
def test_a_broken_pointer_is_told_and_mended_by_a_rollback(publisher: Publisher, text: str) -> None:
    first = publisher.publish(1).manifest.release_id
    (publisher.home.releases("tiny-a") / "CURRENT").write_text(text)
    with pytest.raises(CorruptError, match="rollback --to"):
        current_release(publisher.home, "tiny-a")
    rollback(publisher.home, "tiny-a", first)
    assert current_release(publisher.home, "tiny-a") == first


def test_what_a_killed_writer_left_is_swept_and_never_listed(publisher: Publisher) -> None:
    leftover = publisher.home.releases("tiny-a") / ".20260101T000000Z-aaaaaaaaaaaa.x1.tmp"
    leftover.mkdir(parents=True)
    publisher.publish(1)
    assert not leftover.exists()


def _move(root: Path, ids: list[str]) -> None:
    for release_id in ids * 10:
        promote(Home(root), "tiny-a", release_id)


def test_processes_that_move_the_pointer_at_once_leave_a_whole_history(publisher: Publisher) -> None:
    ids = [publisher.publish(seed).manifest.release_id for seed in (1, 2)]
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_move, args=(publisher.home.root, order)) for order in (ids, ids[::-1])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    moves = history(publisher.home, "tiny-a")
    assert all(later.source == earlier.target for earlier, later in zip(moves, moves[1:], strict=False))
    assert current_release(publisher.home, "tiny-a") == moves[-1].target


def test_an_unwritable_home_is_told(tmp_path: Path, publisher: Publisher) -> None:
    publisher.home.root.write_text("a file, not a folder")
    with pytest.raises(StorageError, match="RJEPA_HOME"):
        publisher.publish(1)
