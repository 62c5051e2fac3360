"""A receipt of an answer over HTTP and of `rjepa solve`: `rjepa verify` generates the answer again and compares."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from rjepa.cli.main import build_app
from rjepa.engine import Engine
from rjepa.home import Home
from rjepa.receipts import Receipt, differences
from rjepa.students.loading import Student
from tests.tiny_release import STATEMENT, TAG

SYSTEM = {"role": "system", "content": "Be brief. This is private."}
QUESTION = {"role": "user", "content": STATEMENT}


@pytest.fixture
def verify(tiny_release: tuple[Home, Student], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RJEPA_HOME", str(tiny_release[0].root))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(build_app(), list(arguments))

    return run


def reply_of(address: str, **changes: Any) -> dict[str, Any]:
    options = {"mode": "rerank", "num_candidates": 4, "seed": 11}
    body = {"model": TAG, "messages": [SYSTEM, QUESTION], "max_tokens": 48, "rjepa": options} | changes
    value: dict[str, Any] = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()
    return value


def written(path: Path, value: Any) -> str:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_an_answer_over_http_is_generated_again_from_its_receipt(
    tiny_service: str, verify: Any, tmp_path: Path
) -> None:
    reply = reply_of(tiny_service)
    assert "private" not in json.dumps(reply["rjepa"]["receipt"]) and "Mia" not in json.dumps(reply["rjepa"]["receipt"])
    body = written(tmp_path / "body.json", {"messages": [SYSTEM, QUESTION]})
    found = verify("verify", written(tmp_path / "reply.json", reply), "--question", body)
    assert found.exit_code == 0 and "the same" in found.stdout, found.output


def test_the_receipt_holds_the_question_only_where_that_is_asked_for(
    tiny_service: str, verify: Any, tmp_path: Path
) -> None:
    hashed = verify("verify", written(tmp_path / "reply.json", reply_of(tiny_service)))
    assert hashed.exit_code == 1 and "--question" in str(hashed.exception)
    kept = reply_of(tiny_service, rjepa={"mode": "rerank", "num_candidates": 2, "keep_question": True}, n=2)
    receipt = kept["rjepa"]["receipt"]
    assert receipt["messages"][0]["content"] == SYSTEM["content"]
    assert verify("verify", written(tmp_path / "receipt.json", receipt)).exit_code == 0


def test_each_of_several_samples_has_a_receipt_of_its_own(tiny_service: str, verify: Any, tmp_path: Path) -> None:
    reply = reply_of(tiny_service, n=2, rjepa={"keep_question": True}, temperature=1)
    receipts = [reply["rjepa"]["receipt"], reply["choices"][1]["rjepa"]["receipt"]]
    assert receipts[0]["text_sha256"] != receipts[1]["text_sha256"]
    for receipt in receipts:
        assert verify("verify", written(tmp_path / "receipt.json", receipt)).exit_code == 0


def test_every_mode_s_answer_is_generated_again(
    tiny_service: str, tiny_release: tuple[Home, Student], verify: Any, tmp_path: Path
) -> None:
    modes = Engine.load(tiny_release[0], TAG, "cpu").modes
    assert len(modes) >= 3
    for mode in modes:
        rjepa = {"mode": mode, "seed": 4, "keep_question": True}
        reply = reply_of(tiny_service, rjepa=rjepa, temperature=0.9, stop=["zzz"], logit_bias={"5": -1})
        found = verify("verify", written(tmp_path / "reply.json", reply))
        assert found.exit_code == 0, (mode, found.output)


def test_an_answer_by_responses_has_one_too(tiny_service: str, verify: Any, tmp_path: Path) -> None:
    body = {"model": f"{TAG}:rerank", "input": STATEMENT, "instructions": "Be brief.", "rjepa": {"keep_question": True}}
    reply = httpx.post(f"{tiny_service}/v1/responses", json=body, timeout=60).json()
    assert verify("verify", written(tmp_path / "reply.json", reply)).exit_code == 0


def test_another_question_is_not_verified(tiny_service: str, verify: Any, tmp_path: Path) -> None:
    reply = written(tmp_path / "reply.json", reply_of(tiny_service))
    found = verify("verify", reply, "--question", written(tmp_path / "q.txt", "What is 1 + 1?"))
    assert found.exit_code == 1 and "not the question of the receipt" in str(found.exception)


def other_choice(receipt: dict[str, Any]) -> int:
    """The place of a candidate with another text than the chosen one."""
    texts = [candidate["text_sha256"] for candidate in receipt["candidates"]]
    return next(place for place, text in enumerate(texts) if text != texts[receipt["chosen"]])


def twin(receipt: dict[str, Any]) -> None:
    """Choose a twin of the chosen candidate, as another order of additions may."""
    receipt["candidates"].append(receipt["candidates"][receipt["chosen"]])
    receipt["chosen"] = len(receipt["candidates"]) - 1


def test_of_two_candidates_with_the_same_words_either_may_be_chosen(tiny_service: str) -> None:
    receipt = Receipt.model_validate(reply_of(tiny_service)["rjepa"]["receipt"])
    value = receipt.model_dump(mode="json")
    twin(value)
    other = Receipt.model_validate(value)
    assert receipt.chosen != other.chosen and not [line for line in differences(receipt, other) if "chosen" in line]


CHANGES: dict[str, tuple[Any, str]] = {
    "the text": (lambda r: r.update(text_sha256="0" * 64), "the text is another one"),
    "an energy": (
        lambda r: r["candidates"][1]["step_energies"].__setitem__(0, 9.5),
        "candidate 1: energy of step 1: was 9.5",
    ),
    "the choice": (lambda r: r.update(chosen=other_choice(r)), "chosen: was"),
    "the seed": (lambda r: r["asked"].update(seed=12), "the text is another one"),
    "the student": (lambda r: r.update(student_fingerprint="0" * 64), "student_fingerprint: was 000"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_difference_is_named_and_ends_with_3(tiny_service: str, verify: Any, tmp_path: Path, what: str) -> None:
    change, words = CHANGES[what]
    options = {"mode": "rerank", "num_candidates": 4, "seed": 11, "keep_question": True}
    receipt = reply_of(tiny_service, rjepa=options)["rjepa"]["receipt"]
    change(receipt)
    found = verify("verify", written(tmp_path / "receipt.json", receipt), "--json")
    assert found.exit_code == 3 and any(words in line for line in json.loads(found.stdout)["differences"]), found.output


def test_a_file_that_is_no_receipt_is_refused(verify: Any, tmp_path: Path) -> None:
    for value in ("no JSON", "{}", '{"rjepa": {"receipt": {"format": 2}}}', "[]"):
        found = verify("verify", written(tmp_path / "receipt.json", value))
        assert found.exit_code == 1 and found.exception is not None


def test_solve_writes_a_receipt_and_verify_reads_it(verify: Any, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    solved = verify("solve", STATEMENT, "--llm", TAG, "--num-candidates", "2", "--receipt", str(path), "--json")
    assert solved.exit_code == 0 and json.loads(solved.stdout)["receipt"] == json.loads(path.read_text())
    question = written(tmp_path / "problem.txt", STATEMENT + "\n")
    assert verify("verify", str(path), "--question", question).exit_code == 0
    assert verify("verify", written(tmp_path / "s.json", solved.stdout), "--question", question).exit_code == 0
    kept = ("solve", STATEMENT, "--llm", TAG, "--mode", "off", "--receipt", str(path), "--keep-question")
    assert verify(*kept).exit_code == 0 and verify("verify", str(path)).exit_code == 0
