import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from rjepa.cli.eval import register
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.evaluation.records import list_records
from rjepa.evaluation.trials import load_trials
from rjepa.evaluation.variants import CALIBRATION_FILE, variants_file
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.jepa.stage import normalizer_file, variant_folder
from rjepa.parts import CALIBRATION, MODEL_FOLDER, NORMALIZER
from rjepa.releases.bundle import load_manifest, release_folder
from tests.datasets.importing import import_dataset
from tests.latents.rows import write_latents
from tests.tiny_release import TAG, addition, publish, register_student, taught_folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A release, and two imported datasets: 12 test problems, and train problems only."""
    root = tmp_path_factory.mktemp("eval")
    home = Home(root / "home")
    publish(home, register_student(home, taught_folder(tmp_path_factory)), root / "sources")
    rng = random.Random(5)
    problems = {statement: answer for statement, _, answer in (addition(rng) for _ in range(60))}
    lines = [json.dumps({"statement": s, "answer": a, "domain": "sums"}) for s, a in list(problems.items())[:12]]
    file = root / "sums.jsonl"
    file.write_text("\n".join(lines) + "\n")
    import_dataset(home, file, "sums", "test")
    import_dataset(home, file, "more-sums", "test")
    import_dataset(home, file, "only-train", "train")
    return home


@pytest.fixture
def evaluate(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)

    class Evaluate:
        """`rjepa eval` against the home; `stderr` gives what it says beside its answer."""

        def __call__(self, *arguments: str) -> str:
            return self._run(arguments).stdout

        def stderr(self, *arguments: str) -> str:
            return self._run(arguments).stderr

        def _run(self, arguments: tuple[str, ...]) -> Result:
            result = CliRunner().invoke(app, ["eval", "--llm", TAG, *arguments])
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise result.exception
            return result

    return Evaluate()


def as_json(text: str) -> dict[str, Any]:
    return json.loads(text)


def test_an_imported_dataset_is_sampled_once_and_judged_by_the_same_leaderboard(evaluate, home: Home) -> None:
    first = as_json(evaluate("--dataset", "sums", "--json"))
    assert first["problems"] == 12 and first["num_candidates"] == 8 and first["mode"] == "rerank"
    methods = {row["method"] for row in first["leaderboard"]}
    assert {"greedy", "mean_at_1", "majority", "rjepa", "rjepa_logprob", "oracle"} <= methods
    assert {row["domain"] for row in first["leaderboard"]} == {"all", "sums"}
    frozen = {path: path.stat().st_mtime_ns for path in home.rollouts(TAG, "sums").rglob("*") if path.is_file()}
    assert as_json(evaluate("--dataset", "sums", "--json")) == first
    assert frozen == {path: path.stat().st_mtime_ns for path in frozen}


def test_a_dataset_can_be_given_more_candidates_a_problem_and_keeps_them(evaluate) -> None:
    found = as_json(evaluate("--dataset", "more-sums", "--candidates", "16", "--json"))
    assert found["num_candidates"] == 16
    assert {1, 4, 8, 16} <= {point["k"] for point in found["curve"]}
    assert as_json(evaluate("--dataset", "more-sums", "--candidates", "16", "--json")) == found
    assert as_json(evaluate("--dataset", "more-sums", "--json")) == found
    with pytest.raises(InvalidInputError, match="16 candidates"):
        evaluate("--dataset", "more-sums", "--candidates", "8")


def test_another_r_jepa_than_the_served_one_can_be_judged_on_any_dataset(evaluate, home: Home) -> None:
    released = as_json(evaluate("--dataset", "sums", "--json"))
    folder = release_folder(home, TAG, released["release"])
    variant = variant_folder(home, TAG, "additions", "full", 1)
    shutil.copytree(folder / MODEL_FOLDER, variant)
    shutil.copy(folder / CALIBRATION, variant / CALIBRATION_FILE)
    shutil.copy(folder / NORMALIZER, normalizer_file(home, TAG, "additions"))
    write_json(variants_file(home, TAG, "additions"), [{"recipe": "full", "seed": 1, "variant": "pure", "model": "x"}])
    made_by = read_json(home.rollouts(TAG, "sums") / "manifest.json")["fingerprint"]
    write_latents(home, TAG, "additions", [], fingerprint=made_by)
    found = as_json(evaluate("--model", "full-1", "--trained-on", "additions", "--dataset", "sums", "--json"))
    assert (found["model"], found["release"], found["trained_on"]) == ("full-1", None, "additions")
    assert (released["model"], found["dataset"]) == (released["release"], "sums")
    assert found["leaderboard"] == released["leaderboard"]
    with pytest.raises(NotFoundError, match="full-1"):
        evaluate("--model", "rank", "--trained-on", "additions", "--dataset", "sums")


def test_mode_off_reports_the_student_s_greedy_chain(evaluate) -> None:
    found = as_json(evaluate("--dataset", "sums", "--mode", "off", "--json"))
    greedy = next(row for row in found["leaderboard"] if row["method"] == "greedy" and row["domain"] == "all")
    assert found["method"] == "greedy" and found["accuracy"] == greedy["accuracy"]


def test_a_limit_takes_the_first_problems(evaluate) -> None:
    assert as_json(evaluate("--dataset", "sums", "--limit", "5", "--json"))["problems"] == 5
    assert as_json(evaluate("--dataset", "sums", "--limit", "500", "--json"))["problems"] == 12


def test_people_get_a_short_table_of_every_domain_and_the_whole_one_on_request(evaluate) -> None:
    text = evaluate("--dataset", "sums")
    labels = ("One sample", "Majority", "R-JEPA", "* R-JEPA + log-probability, as served", "Oracle")
    assert all(label in text for label in labels) and "Self-certainty" not in text
    table = text[text.index("Tokens") :].split("\n\n")[0].splitlines()
    assert len(table) <= 12
    assert "12 test problems of sums" in text
    everything = evaluate("--dataset", "sums", "--all")
    assert "Self-certainty" in everything and "Within-problem AUROC" in everything
    assert "Candidates" in everything and "by the number of candidates" in everything


def test_too_few_judged_problems_are_warned_of(evaluate) -> None:
    assert "only 12 problems of sums were judged" in evaluate.stderr("--dataset", "sums")


def test_an_evaluation_is_kept_as_a_record_of_the_release_and_of_these_candidates(evaluate, home: Home) -> None:
    released = as_json(evaluate("--dataset", "sums", "--json"))
    content = load_manifest(home, TAG, released["release"]).content_hash
    records = [r for r in list_records(home, TAG, content) if r.candidates.dataset == "sums" and r.num_problems == 12]
    assert len(records) == 1
    assert records[0].accuracy == pytest.approx(released["accuracy"])
    assert records[0].ece == pytest.approx(released["probability"]["ece"])
    majority = next(row for row in released["leaderboard"] if row["method"] == "majority" and row["domain"] == "all")
    assert records[0].accuracy_by_method()["majority"] == pytest.approx(majority["accuracy"])
    assert records[0].tokens["majority"] == pytest.approx(majority["tokens"])


def test_policies_are_replayed_without_writing_anything(evaluate) -> None:
    found = json.loads(evaluate("--dataset", "sums", "--replay", "--json"))
    labels = [row["label"] for row in found["rows"]]
    assert "greedy" in labels and "self-consistency until decided" in labels
    assert [row["tokens"] for row in found["rows"]] == sorted(row["tokens"] for row in found["rows"])
    assert all(row["seconds"] is None for row in found["rows"])


def test_a_mode_is_tried_within_its_budget_beside_the_policies_and_kept(evaluate, home: Home) -> None:
    ask = ("--dataset", "sums", "--mode", "repair", "--budget", "60", "-o", "surprise=0.4", "--limit", "8", "--json")
    found = json.loads(evaluate(*ask))
    (tried,) = [row for row in found["rows"] if row["family"] == "mode"]
    assert 0 <= tried["ece"] <= 1 and all(row["ece"] is None for row in found["rows"] if row != tried)
    assert 0 < tried["tokens"] <= 60 and tried["seconds"] > 0 and found["problems"] == 8
    assert tried["label"] == "repair budget=60 surprise=0.4"
    assert tried["ci_low"] <= tried["accuracy"] <= tried["ci_high"]
    (kept,) = load_trials(home.reports(TAG, "sums"))
    assert kept.mode == "repair" and [row.model_dump() for row in kept.rows] == found["rows"]
    shown = evaluate("--dataset", "sums", "--mode", "repair", "--budget", "60", "--limit", "4")
    assert "ahead" in shown and "ECE of P(correct)" in shown
    with pytest.raises(InvalidInputError, match="no option 'wings'"):
        evaluate("--dataset", "sums", "--mode", "repair", "-o", "wings=2")


def test_bad_input_is_refused_with_a_cure(evaluate) -> None:
    with pytest.raises(NotFoundError, match="data import"):
        evaluate("--dataset", "nothing")
    with pytest.raises(InvalidInputError, match="--split test"):
        evaluate("--dataset", "only-train")
    with pytest.raises(InvalidInputError, match="off, .*rerank"):
        evaluate("--mode", "telepathy")
    with pytest.raises(InvalidInputError):
        evaluate("--llm", "a|b")
    with pytest.raises(NotFoundError, match="make demo"):
        evaluate("--llm", "nobody")


def test_a_corrupted_shard_is_refused(evaluate, home: Home) -> None:
    evaluate("--dataset", "sums")
    # Shards are named by what they hold: which of them are those of `sums` is not told by their names.
    for shard in home.shards("rollouts", TAG).rglob("*.safetensors"):
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
    with pytest.raises(CorruptError):
        evaluate("--dataset", "sums")
