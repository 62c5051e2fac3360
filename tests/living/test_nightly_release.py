"""A night's release on a real student: judged on sealed problems, at a price, asked for twice and paid for once."""

import json
import shutil
from pathlib import Path

import pytest

from rjepa.database import open_database
from rjepa.datasets.building import build_problems
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.evaluation.records import EvaluationRecord, write_record
from rjepa.evaluation.stage import candidates_to_judge
from rjepa.home import Home
from rjepa.latents.worker import StudentTask
from rjepa.living.budget import BUDGET, SHARE, budget_left, list_tests
from rjepa.living.drawing import open_set, prepare_set
from rjepa.living.evidence import build_nightly_release, draw_basis
from rjepa.living.sealed import require_live_set, seal
from rjepa.releases.findings import Pair
from rjepa.releases.history import history
from rjepa.releases.pointer import require_current
from rjepa.releases.stage import build_release
from rjepa.stages import StageReport
from rjepa.students.loading import Student
from tests.datasets.importing import import_dataset
from tests.records import make_record, outcomes
from tests.releases.test_stage import DATASET, Evaluated
from tests.tiny_release import TAG, register_student, taught_folder

pytestmark = pytest.mark.slow

SEALED = "other-sums"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """What was evaluated once; each test has a copy of its own."""
    root = tmp_path_factory.mktemp("nightly")
    evaluated = Evaluated(root, register_student(Home(root / "home"), taught_folder(tmp_path_factory)))
    evaluated.make_dataset()
    evaluated.sample(4)
    evaluated.make_dataset(SEALED, sums=60, seed=77)
    evaluated.train(1)
    evaluated.evaluate()
    build_release(evaluated.home, TAG, DATASET)
    evaluated.train(2)
    evaluated.evaluate()
    return evaluated


@pytest.fixture
def evaluated(trained: Evaluated, tmp_path: Path) -> Evaluated:
    shutil.copytree(trained.home.root, tmp_path / "home")
    return Evaluated(tmp_path, trained.student)


def sampler(student: Student, evaluated: Evaluated, asked: list[StudentTask]):  # type: ignore[no-untyped-def]
    from rjepa.latents.freezing import build_rollouts

    def sample(task: StudentTask) -> StageReport:
        asked.append(task)
        return build_rollouts(evaluated.home, student, task.dataset, num_candidates=4, seed=task.seed)

    return sample


def prepare(evaluated: Evaluated) -> list[StudentTask]:
    asked: list[StudentTask] = []
    seal(evaluated.home, TAG, "mine", (SEALED,))
    prepare_set(evaluated.home, TAG, DATASET, sampler(evaluated.student, evaluated, asked))
    return asked


def test_without_sealed_problems_a_night_says_what_to_do(evaluated: Evaluated) -> None:
    with pytest.raises(NotFoundError, match="sealed_candidates"):
        build_nightly_release(evaluated.home, TAG, DATASET)


def test_a_night_is_judged_on_sealed_problems_and_asking_twice_costs_once(evaluated: Evaluated) -> None:
    assert [task.dataset for task in prepare(evaluated)] == [SEALED]
    home, before = evaluated.home, require_current(evaluated.home, TAG)
    made = build_nightly_release(home, TAG, DATASET)
    metadata = made.report.metadata
    # Two R-JEPAs of initial weights are equally good: nothing may be served.
    assert metadata["promoted"] == 0 and metadata["rule"] == "nightly" and require_current(home, TAG) == before
    assert metadata["judged_on"] == "mine" and metadata["dataset"] == DATASET and metadata["problems"] > 10
    assert metadata["replaces"] == before != metadata["release"]
    assert metadata["gate_night_alpha"] == SHARE and metadata["gate_night_uses"] == 1
    assert metadata["gate_night_budget_left"] == pytest.approx(BUDGET - SHARE)
    assert made.images["gate"].startswith(b"\x89PNG") and len(made.images["gate"]) < 50_000
    decision = history(home, TAG)[-1].decision
    assert decision is not None and decision.night is not None and decision.night.terms.sealed_set == "mine"
    assert decision.night.terms.old_domains == ("sums",)
    again = build_nightly_release(home, TAG, DATASET)
    assert again.report.metadata["gate_night_log_evidence"] == metadata["gate_night_log_evidence"]
    with open_database(home) as database:
        assert budget_left(database, TAG) == pytest.approx(BUDGET - SHARE)
        (test,) = list_tests(database, TAG)
    assert (test.sealed_set, test.claim, test.alpha) == ("mine", "all", SHARE)
    assert require_live_set(home, TAG).uses == 1


def test_what_the_same_two_did_on_earlier_sets_is_found_again(evaluated: Evaluated) -> None:
    home = evaluated.home

    def record(key: str, share: float, candidates: str) -> EvaluationRecord:
        made = make_record(key * 64, outcomes(50, share), candidates=candidates * 64, dataset=DATASET)
        return made.model_copy(update={"llm_tag": TAG})

    def pair(candidates: str, ours: str = "a") -> Pair:
        return record(ours, 0.6, candidates), record("b", 0.5, candidates)

    first, second, other = pair("1"), pair("2"), pair("1", ours="f")
    for each in (*first, *second, other[0]):
        write_record(home, each)
    assert draw_basis(home, *first, "all", "sealed-1").earlier == ()
    assert draw_basis(home, *other, "all", "sealed-1").earlier == ()
    basis = draw_basis(home, *second, "all", "sealed-2")
    assert basis.earlier == (first,) and basis.terms.uses == 1
    # A record that is gone is done without.
    next(home.evaluations(TAG).glob(f"{'a' * 16}/{first[0].sha256[:16]}.json")).unlink()
    assert draw_basis(home, *second, "all", "sealed-2").earlier == ()


def test_a_person_s_release_spends_nothing_of_the_nights_budget(evaluated: Evaluated) -> None:
    prepare(evaluated)
    build_release(evaluated.home, TAG, DATASET, rule="improve")
    with open_database(evaluated.home) as database:
        assert budget_left(database, TAG) == BUDGET and not list_tests(database, TAG)


def test_problems_that_were_trained_on_or_sealed_before_are_no_evidence(evaluated: Evaluated) -> None:
    prepare(evaluated)
    home, fingerprint = evaluated.home, evaluated.student.fingerprint
    sealed = require_live_set(home, TAG)
    (whole,) = open_set(home, TAG, sealed, fingerprint, ())
    recipe = import_dataset(home, _file_with(evaluated, whole.problems[0].statement), "trained-on", "train")
    build_problems(home, recipe)
    (rest,) = open_set(home, TAG, sealed, fingerprint, ("trained-on",))
    assert len(rest.problems) == len(whole.problems) - 1
    assert whole.problems[0].statement not in {problem.statement for problem in rest.problems}
    assert candidates_to_judge([rest], "mine").sha256 != candidates_to_judge([whole], "mine").sha256


def test_a_set_of_problems_that_are_all_known_is_refused(evaluated: Evaluated) -> None:
    prepare(evaluated)
    home, sealed = evaluated.home, require_live_set(evaluated.home, TAG)
    (whole,) = open_set(home, TAG, sealed, evaluated.student.fingerprint, ())
    statements = [problem.statement for problem in whole.problems]
    build_problems(home, import_dataset(home, _file_with(evaluated, *statements), "trained-on", "train"))
    with pytest.raises(InvalidInputError, match="no problem of sealed set"):
        open_set(home, TAG, sealed, evaluated.student.fingerprint, ("trained-on",))


def _file_with(evaluated: Evaluated, *statements: str) -> Path:
    path = evaluated.root / "known.jsonl"
    lines = [json.dumps({"statement": statement, "answer": "1", "domain": "sums"}) for statement in statements]
    path.write_text("\n".join(lines) + "\n")
    return path
