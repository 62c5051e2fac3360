import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rjepa.engine import Engine
from rjepa.errors import CorruptError, InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.reasoning.answer import Answer
from rjepa.reasoning.events import Done, StepWritten, Text, Working
from rjepa.reasoning.question import Message, Question, ask
from rjepa.releases.bundle import release_folder
from rjepa.releases.pointer import rollback
from rjepa.sampling.protocol import DecodingSession
from rjepa.students.ahead import AHEAD
from rjepa.students.loading import Student
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder


def question(
    mode: str = "rerank",
    statement: str = STATEMENT,
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    **options: object,
) -> Question:
    """A question; what else is named are options of the mode."""
    return ask(statement, mode, options, temperature=temperature, max_tokens=max_tokens, seed=seed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Student]:
    root = tmp_path_factory.mktemp("engine")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    return home, student


@pytest.fixture(scope="module")
def engine(made: tuple[Home, Student]) -> Engine:
    return Engine.load(made[0], TAG, "cpu")


def test_rerank_answers_with_steps_energies_and_a_reason(engine: Engine) -> None:
    answer = engine.answer(question("rerank", num_candidates=6, seed=3))
    assert len(answer.candidates) == 6 and sum(candidate.chosen for candidate in answer.candidates) == 1
    winner = next(candidate for candidate in answer.candidates if candidate.chosen)
    assert (answer.text, answer.steps, answer.final_answer) == (winner.text, winner.steps, winner.final_answer)
    assert sorted(candidate.rank for candidate in answer.candidates) == list(range(6))
    for candidate in answer.candidates:
        assert len(candidate.step_energies) == len(candidate.steps)
        assert (candidate.answer_energy is None) == (candidate.final_answer is None)
        assert candidate.p_correct is not None and 0 <= candidate.p_correct <= 1
        assert candidate.score is None or candidate.score == pytest.approx(sum(candidate.contributions.values()))
    assert answer.explanation is not None and answer.explanation.text.startswith(f"Candidate {winner.index + 1}")
    assert answer.cost.tokens_generated == sum(candidate.tokens for candidate in answer.candidates)
    assert answer.release_id == engine.release_id and answer.prompt_tokens > 5


def test_a_problem_that_rjepa_does_not_know_is_answered_without_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = engine.answer(question("rerank", num_candidates=6, seed=3))
    assert usual.explanation is not None and usual.explanation.familiar
    strict = engine._parts.calibration.model_copy(update={"familiar_energy": (-99.0,)})
    monkeypatch.setattr(engine, "_parts", replace(engine._parts, calibration=strict))
    answer = engine.answer(question("rerank", num_candidates=6, seed=3))
    assert answer.explanation is not None and not answer.explanation.familiar
    assert "R-JEPA knows no problems like this one" in answer.explanation.text
    assert answer.p_correct is None and all(candidate.p_correct is None for candidate in answer.candidates)
    for before, after in zip(usual.candidates, answer.candidates, strict=True):
        assert (after.text, after.step_energies) == (before.text, before.step_energies)
        assert set(after.contributions) == {"logprob", "length"}


def test_the_taught_student_gives_steps_and_an_answer(engine: Engine) -> None:
    answer = engine.answer(question("off"))
    assert answer.steps and answer.final_answer and answer.finished
    assert answer.candidates == [] and answer.explanation is None and answer.p_correct is None


@pytest.mark.parametrize("options", [{"mode": "off"}, {"mode": "off", "temperature": 1.0}, {"num_candidates": 4}])
def test_equal_seeds_give_equal_answers_and_the_events_add_up_to_the_text(engine: Engine, options: dict) -> None:
    whole, again = (engine.answer(question(seed=5, **options)) for _ in range(2))
    *events, last = engine.run(question(seed=5, **options))
    assert isinstance(last, Done)
    pieces = [event.text for event in events if isinstance(event, Text | StepWritten)]
    assert "".join(pieces) == whole.text and len(pieces) > 1
    assert _without_time(whole) == _without_time(again) == _without_time(last.answer)


def _without_time(answer: Answer) -> dict:
    return answer.model_dump(exclude={"cost": {"seconds"}})


def test_many_questions_are_answered_as_each_would_be_alone_whatever_their_modes(engine: Engine) -> None:
    other = "Mia has 2 apples and buys 1 more. How many apples does Mia have?"
    questions = [
        question(num_candidates=4, seed=1),
        question("off", other),
        question("off", temperature=1.0, seed=3, max_tokens=9),
        question(statement=other, num_candidates=2, seed=2, temperature=0.7),
    ]
    counts: list[int] = []
    together = engine.answer_many(questions, lambda done, total, note: counts.append(done))
    for answer, alone in zip(together, map(engine.answer, questions), strict=True):
        assert (answer.text, answer.seed, answer.prompt_tokens) == (alone.text, alone.seed, alone.prompt_tokens)
        assert [c.text for c in answer.candidates] == [c.text for c in alone.candidates]
        assert answer.cost.tokens_generated == alone.cost.tokens_generated
    assert counts == [1, 2, 3, 4]


def test_what_a_student_without_a_chat_template_does_not_read_is_listed(engine: Engine) -> None:
    alone = engine.answer(question("off"))
    messages = [
        Message(role="system", content="You are terse."),
        Message(role="user", content="What is 1 + 1?"),
        Message(role="assistant", content="2"),
        Message(role="user", content=STATEMENT),
        Message(role="assistant", content="Let me"),
    ]
    answer = engine.answer(ask(messages, "off"))
    assert answer.text == alone.text and alone.ignored == ()
    assert answer.ignored == ("the system message", "2 earlier messages", "what follows the last user message")


def test_costs_are_those_of_the_work_that_was_done(engine: Engine) -> None:
    alone, several = engine.answer(question("off")), engine.answer(question(num_candidates=5, seed=2))
    assert alone.cost.world_model_passes == 0 and several.cost.world_model_passes == 1
    assert several.cost.tokens_generated == sum(candidate.tokens for candidate in several.candidates)
    longest = max(candidate.tokens for candidate in several.candidates)
    beyond = 8  # tokens are drawn a few at a time, and some come after the last end
    assert longest <= several.cost.forward_passes <= longest + beyond


def test_closing_the_events_stops_between_two_passes(engine: Engine) -> None:
    source = engine._student
    sessions: list[DecodingSession] = []

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(source, name)

        def session(self, **options: bool) -> DecodingSession:
            sessions.append(source.session(**options))
            return sessions[-1]

    watched = Engine(engine._home, engine.manifest, Watched(), engine._parts)
    events = watched.run(question(num_candidates=32, seed=4))
    for _ in range(3):
        assert isinstance(next(events), Working)
    events.close()
    assert 0 < sessions[0].counts.generated <= 3 * AHEAD


def test_another_seed_samples_other_candidates(engine: Engine) -> None:
    first, second = (engine.answer(question(num_candidates=8, seed=seed)) for seed in (1, 2))
    assert [c.logprob for c in first.candidates] != [c.logprob for c in second.candidates]


def test_candidates_of_a_smaller_request_are_the_first_of_a_larger_one(engine: Engine) -> None:
    few, many = (engine.answer(question(num_candidates=count, seed=1)) for count in (2, 5))
    assert [c.text for c in few.candidates] == [c.text for c in many.candidates][:2]


def test_energies_are_those_that_the_pipeline_scores(engine: Engine, made: tuple[Home, Student]) -> None:
    from rjepa.adapters.opening import WorldModelFiles
    from rjepa.inference.scoring import segment_energies
    from rjepa.reasoning.candidates import join_latents
    from rjepa.students.generation import sample_chains

    answer = engine.answer(question(num_candidates=3, seed=9))
    chains = sample_chains(made[1], [STATEMENT], num_candidates=3, seed=9)[0]
    folder = release_folder(made[0], TAG, engine.release_id)
    model, reader = WorldModelFiles.laid_out(folder).open("cpu")
    for candidate, energies in zip(
        answer.candidates, segment_energies(model, reader, join_latents(chains)), strict=True
    ):
        shown = [*candidate.step_energies, *([] if candidate.answer_energy is None else [candidate.answer_energy])]
        np.testing.assert_allclose(shown, energies, rtol=1e-4)


def test_an_answer_cut_at_the_token_limit_says_so(engine: Engine) -> None:
    assert not engine.answer(question("off", max_tokens=3)).finished
    *_, last = engine.run(question("off", max_tokens=3))
    assert isinstance(last, Done) and not last.answer.finished and last.answer.cost.tokens_generated == 3
    short = engine.answer(question(num_candidates=2, max_tokens=1))
    assert all(candidate.tokens <= 1 for candidate in short.candidates)


BAD = {
    "unknown mode": ({"mode": "telepathy"}, "off, .*rerank"),
    "no candidates": ({"num_candidates": 0}, "1 to 64"),
    "10 000 candidates": ({"num_candidates": 10_000}, "1 to 64"),
    "nothing to choose from": ({"temperature": 0.0}, "mode off"),
    "below zero": ({"temperature": -1.0}, "greater than or equal to 0"),
    "no tokens": ({"max_tokens": 0}, "greater than or equal to 1"),
    "empty": ({"statement": " \n"}, "write the problem"),
    "too long": ({"statement": "apples " * 400}, "shorten"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_question_is_refused_with_a_cure(engine: Engine, name: str) -> None:
    changes, cure = BAD[name]
    with pytest.raises(InvalidInputError, match=cure):
        engine.check(question(**changes))


def test_an_answer_is_drawn_as_the_question_says(engine: Engine) -> None:
    plain = engine.answer(question("off", temperature=1.0))
    line = plain.text.split("\n")[0]
    stopped = engine.answer(ask(STATEMENT, "off", temperature=1.0, stop=[line[-3:]]))
    assert stopped.text == plain.text[: plain.text.index(line[-3:])] and stopped.finished
    greedy = engine.answer(question("off", temperature=0.0))
    assert engine.answer(ask(STATEMENT, "off", temperature=1.0, top_k=1)).text == greedy.text
    assert (
        engine.answer(ask(STATEMENT, "off", temperature=1.0, top_p=1.0, presence_penalty=0.0, stop=[])).text
        == plain.text
    )


def test_a_bias_for_a_token_that_is_none_is_refused_before_anything_is_written(engine: Engine) -> None:
    with pytest.raises(InvalidInputError, match="has no token 999999"):
        engine.check(ask(STATEMENT, "off", logit_bias={999_999: 1.0}))


@pytest.mark.parametrize("mode", ["off", "rerank"])
def test_log_probabilities_of_an_answers_tokens_are_told_where_they_are_asked_for(engine: Engine, mode: str) -> None:
    asked = ask(STATEMENT, mode, temperature=1.0, top_logprobs=2)
    events = list(engine.run(asked))
    assert isinstance(events[-1], Done)
    answer = events[-1].answer
    assert answer.text == engine.answer(question(mode, temperature=1.0)).text
    tokens = answer.scored_tokens
    assert tokens is not None
    written = b"".join(bytes(token.bytes) for token in tokens).decode()
    assert written.removesuffix("<|end|>") == answer.text
    for token in tokens:
        assert [one.logprob for one in token.top] == sorted((one.logprob for one in token.top), reverse=True)
        assert len(token.top) == 2 and token.top[0].logprob >= token.logprob
    for candidate in answer.candidates:
        assert candidate.scored_tokens is not None
        told = sum(token.logprob for token in candidate.scored_tokens[: candidate.tokens])
        assert candidate.logprob == pytest.approx(told, abs=1e-3)
    if mode == "off":
        assert tuple(token for event in events if isinstance(event, Text) for token in event.tokens) == tokens
    assert engine.answer(question(mode)).scored_tokens is None


def test_without_a_release_the_error_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="make demo"):
        Engine.load(Home(tmp_path), "tiny-a")


def test_a_release_for_other_weights_is_refused(made: tuple[Home, Student], tmp_path: Path) -> None:
    home, student = made
    path = home.registry / "students" / f"{TAG}.yaml"
    text = path.read_text()
    path.write_text(text.replace("layer_idx: -2", "layer_idx: -3"))
    try:
        with pytest.raises(InvalidInputError, match=student.fingerprint[:12]):
            Engine.load(home, TAG, "cpu")
    finally:
        path.write_text(text)


def test_a_damaged_release_is_refused(made: tuple[Home, Student], tmp_path: Path) -> None:
    home, student = made
    second = publish(home, student, tmp_path, seed=2)
    file = release_folder(home, TAG, second) / "model" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptError, match="hash"):
        Engine.load(home, TAG, "cpu")
    rollback(home, TAG)


def test_a_new_release_for_the_same_student_keeps_it_in_memory(
    made: tuple[Home, Student], engine: Engine, tmp_path: Path
) -> None:
    home, student = made
    third = publish(home, student, tmp_path, seed=3)
    fresh = Engine.load(home, TAG, "cpu", reuse=engine)
    fresh.warm_up()
    assert fresh.release_id == third and fresh._student is engine._student
    rollback(home, TAG)


def test_examples_are_problems_that_the_student_has_room_for(engine: Engine) -> None:
    examples = engine.examples(6)
    assert examples and {example.domain for example in examples} <= {"math", "code", "logic"}
    for example in examples:
        engine.check(question(statement=example.statement))


def test_what_is_loaded_can_be_told_as_json(engine: Engine) -> None:
    assert json.loads(json.dumps(engine.info()))["id"] == engine.release_id
