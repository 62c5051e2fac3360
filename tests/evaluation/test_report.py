import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.report import ReportFiles, write_report
from rjepa.evaluation.results import EvaluationResult

ATTACK = "<script>alert('$x_1$')</script><img src=x onerror=alert(1)> {{ 7 * 7 }} & \"quoted\" 漢字"


@pytest.fixture(scope="module")
def result(pools: Callable[..., CandidatePool]) -> EvaluationResult:
    def hostile(pool: CandidatePool) -> CandidatePool:
        rows = [
            [c.model_copy(update={"steps": [ATTACK, "b"], "reason": ATTACK}) for c in row] for row in pool.candidates
        ]
        rows = [
            [c if c.is_correct else c.model_copy(update={"final_answer": f"{c.final_answer}{ATTACK}"}) for c in row]
            for row in rows
        ]
        problems = [
            p.model_copy(update={"statement": ATTACK, "domain": f"{p.domain} {ATTACK}", "answer_gold": ATTACK})
            for p in pool.problems
        ]
        return replace(pool, candidates=rows, problems=problems)

    return evaluate(hostile(pools(200, seed=2)), calibrate(pools(150, split="validation", seed=1)), 0, resamples=100)


@pytest.fixture(scope="module")
def files(result: EvaluationResult, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return write_report(tmp_path_factory.mktemp("report"), result, title="A & B <b>")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _parse(path: Path) -> _Tags:
    page = _Tags()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_text_of_problems_and_candidates_is_shown_and_never_run(files: ReportFiles, result: EvaluationResult) -> None:
    assert result.gallery
    page = _parse(files.html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert ATTACK in "".join(page.text)


def test_the_page_needs_nothing_but_itself(files: ReportFiles) -> None:
    page = _parse(files.html)
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 6 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import", files.html.read_text(encoding="utf-8"))


def test_the_pictures_are_small_pngs(files: ReportFiles) -> None:
    assert set(files.images) == {
        "leaderboard",
        "energies",
        "reliability",
        "accuracy_by_k",
        "accuracy_by_tokens",
        "attribution",
    }
    for name, path in files.images.items():
        content = path.read_bytes()
        assert content == files.image_bytes[name]
        assert content.startswith(b"\x89PNG") and 1_000 < len(content) < 50_000


def test_the_json_is_the_evaluation(files: ReportFiles, result: EvaluationResult) -> None:
    assert EvaluationResult.load(files.json) == result
    assert json.loads(files.json.read_text(encoding="utf-8"))["num_candidates"] == 8


def test_the_gallery_shows_what_was_won_lost_and_missed(result: EvaluationResult) -> None:
    assert {item.kind for item in result.gallery} <= {"won", "lost", "missed"}
    for item in result.gallery:
        ours = next(c for c in item.candidates if c.chosen)
        theirs = next(c for c in item.candidates if c.chosen_by_majority)
        expected = {"won": (True, False), "lost": (False, True), "missed": (False, False)}[item.kind]
        assert (ours.is_correct, theirs.is_correct) == expected


def test_a_report_of_one_problem_with_one_candidate_is_written(
    pools: Callable[..., CandidatePool], tmp_path: Path
) -> None:
    calibration = calibrate(pools(150, split="validation", seed=1))
    assert write_report(tmp_path, evaluate(pools(1, 1, seed=3), calibration, resamples=20)).html.exists()
