"""Chains from an OpenAI-compatible server, over real HTTP: as if the student had sampled them itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing

from rjepa.chains import segment_spans
from rjepa.engine import Engine
from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.latents.freezing import build_rollouts
from rjepa.latents.rollouts import open_rollouts
from rjepa.reasoning.events import Done, Text
from rjepa.reasoning.question import ask
from rjepa.sampling.endpoint import EndpointError, EndpointSource, key_variable
from rjepa.sampling.local import LocalSource
from rjepa.sampling.opening import source_of
from rjepa.sampling.protocol import Capability, require
from rjepa.schemas import Split
from rjepa.students.extraction import extract_latents
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.prompts import PromptFormat
from rjepa.students.rescoring import score_chains
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import GREEDY, Pass, RowRequest, Token, Until
from tests.latents.conftest import DATASET
from tests.patience import PATIENCE
from tests.sampling.servers import Served, serving
from tests.students.tiny import EOS, taught_pairs, tokenizer
from tests.tiny_release import STATEMENT, move_to_endpoint, publish, register_student, taught_folder

TAG = "tiny-test"
STATEMENTS = [pair[0] for pair in taught_pairs()[:3]]
SAMPLES = [GREEDY, 0, 1, 2]


def at(student: Student, url: str, **changes: Any) -> Student:
    """The student with an endpoint."""
    return replace(student, record=student.record.model_copy(update={"endpoint": url, **changes}))


def test_a_student_without_an_endpoint_samples_itself(taught: Student) -> None:
    sampler = source_of(taught)
    assert isinstance(sampler, LocalSource)
    here = sampler.sample(STATEMENTS, SAMPLES, seed=1)
    assert [[c.text for c in row] for row in here] == [
        [c.text for c in row] for row in sample_indices(taught, STATEMENTS, SAMPLES, seed=1)
    ]


def test_scores_of_chains_that_are_read_are_those_of_chains_that_are_sampled(taught: Student) -> None:
    rows = sample_indices(taught, STATEMENTS, SAMPLES, seed=4)
    prompts = [taught.tokenizer(f"{statement}\n")["input_ids"] for statement in STATEMENTS for _ in SAMPLES]
    flat = [chain for row in rows for chain in row]
    for chain, score in zip(flat, score_chains(taught, prompts, [c.token_ids for c in flat]), strict=True):
        np.testing.assert_allclose(score.logprobs, chain.token_logprobs, atol=1e-3)
        assert score.self_certainty == pytest.approx(chain.self_certainty, abs=1e-3)
    assert score_chains(taught, prompts[:1], [[]])[0].logprobs == []


@pytest.mark.parametrize(
    "behaviour",
    [
        {},
        {"logprobs": False},
        {"max_candidates": 1},
        {"completions": False},
        {"completions": False, "refuses": ("n", "logprobs")},
        {"completions": False, "refuses": ("n", "logprobs", "seed")},
    ],
    ids=["all there is", "no log-probabilities", "fewer than asked for", "chat", "one by one", "barest chat"],
)
def test_chains_are_whole_whatever_the_server_can_do(taught: Student, behaviour: dict[str, Any]) -> None:
    with serving(Served(taught, tail="Step 9: and on and on", **behaviour)) as served:
        rows = EndpointSource(at(taught, served.url)).sample(STATEMENTS, SAMPLES, seed=1, temperature=0.9)
    own_greedy = sample_indices(taught, STATEMENTS, [GREEDY], seed=1)
    for statement, row, (greedy,) in zip(STATEMENTS, rows, own_greedy, strict=True):
        assert len(row) == len(SAMPLES) and row[0].text == greedy.text
        prompt = taught.tokenizer(f"{statement}\n")["input_ids"]
        for chain, own in zip(row, score_chains(taught, [prompt] * 4, [c.token_ids for c in row]), strict=True):
            assert chain.finished and "and on" not in chain.text
            encoded = extract_latents(taught, [statement], [chain.text])[0]
            assert encoded is not None and chain.latents is not None and chain.sentences is not None
            np.testing.assert_allclose(chain.latents, encoded.latents, atol=4e-3)
            np.testing.assert_allclose(chain.sentences, encoded.sentences, atol=4e-3)
            assert len(chain.latents) == len(segment_spans(chain.text)) + 1
            assert sum(chain.token_logprobs) == pytest.approx(sum(own.logprobs), abs=0.01)
            assert chain.self_certainty == pytest.approx(own.self_certainty, abs=1e-4)
    sampled = {chain.text for row in rows for chain in row[1:]}
    assert len(sampled) > len(STATEMENTS)  # not the same chain three times
    for body in served.asked:
        assert body["model"] == "tiny" and body["max_tokens"] == taught.record.sampling.max_new_tokens
        assert body["temperature"] in (0.0, 0.9)


@pytest.mark.parametrize("refused", [("n",), ("n", "logprobs"), ("n", "logprobs", "seed")])
def test_a_server_that_refuses_a_field_is_still_asked_with_our_own_prompt(
    taught: Student, refused: tuple[str, ...]
) -> None:
    with serving(Served(taught, refuses=refused)) as served:
        rows = EndpointSource(at(taught, served.url)).sample(STATEMENTS, [0, 1, 2], seed=1)
    assert {body["path"] for body in served.asked} == {"/v1/completions"}
    assert all(chain.finished and chain.latents is not None for row in rows for chain in row)
    assert sum(bool({*refused} & body.keys()) for body in served.asked) == len(refused)  # it is found out once


def test_a_chain_longer_than_the_context_is_cut_and_has_not_finished(taught: Student) -> None:
    with serving(Served(taught, tail=" and é on" * 300)) as served:
        row = EndpointSource(at(taught, served.url)).sample(STATEMENTS[:1], [GREEDY, 0], seed=1, max_new_tokens=6)[0]
    prompt = len(taught.tokenizer(f"{STATEMENTS[0]}\n")["input_ids"])
    for chain in row:
        assert not chain.finished and 0 <= taught.context_length - prompt - len(chain.token_ids) < 3
        assert len(chain.token_logprobs) == len(chain.token_ids) and chain.latents is not None


def test_a_beginning_of_sequence_that_the_server_adds_is_not_sent_twice(taught: Student) -> None:
    words = tokenizer(360)
    words.bos_token, words.chat_template = EOS, "{{ bos_token }}{{ messages[0]['content'] }}"
    words.backend_tokenizer.post_processor = TemplateProcessing(single=f"{EOS} $A", special_tokens=[(EOS, 0)])
    with serving(Served(taught)) as served:
        student = replace(at(taught, served.url, prompt=PromptFormat(use_chat_template=True)), tokenizer=words)
        EndpointSource(student).sample(STATEMENTS[:1], [0], seed=1)
    assert served.asked[0]["prompt"] == f"{STATEMENTS[0]}\n"


def test_equal_seeds_ask_for_the_same_and_other_seeds_for_something_else(taught: Student) -> None:
    with serving(Served(taught)) as served:
        sampler = EndpointSource(at(taught, served.url))
        first, again, other = (
            [[c.text for c in row] for row in sampler.sample(STATEMENTS, [0, 1, 2], seed=seed, capture=False)]
            for seed in (1, 1, 2)
        )
    assert first == again != other


def test_a_server_that_stumbles_is_asked_again(taught: Student) -> None:
    with serving(Served(taught, failures=2)) as served:
        rows = EndpointSource(at(taught, served.url)).sample(STATEMENTS[:1], [0, 1], seed=1)
    assert len(rows[0]) == 2 and len(served.asked) == 3


def test_a_server_that_goes_on_failing_or_is_not_there_is_told_with_its_address(taught: Student) -> None:
    with serving(Served(taught, failures=100)) as served:
        with pytest.raises(EndpointError, match="http_500(.|\n)*start the server"):
            EndpointSource(at(taught, served.url, served_model="tiny"), retries=0).sample(STATEMENTS, [0], seed=1)
    with pytest.raises(EndpointError, match=f"{served.url} of {TAG} writes no chains .connection"):
        EndpointSource(at(taught, served.url), retries=0).sample(STATEMENTS, [0], seed=1)


def test_a_server_of_several_models_wants_to_hear_which(taught: Student) -> None:
    with serving(Served(taught, models=("a", "b"))) as served:
        with pytest.raises(EndpointError, match="serves a, b(.|\n)*--served-model"):
            EndpointSource(at(taught, served.url)).sample(STATEMENTS[:1], [0], seed=1)
        EndpointSource(at(taught, served.url, served_model="b")).sample(STATEMENTS[:1], [0], seed=1)
    assert served.asked[0]["model"] == "b"


def test_a_server_that_cannot_list_its_models_is_told_the_name(taught: Student) -> None:
    with serving(Served(taught, says_no_models=True)) as served:
        with pytest.raises(EndpointError, match="does not say what it serves(.|\n)*--served-model"):
            EndpointSource(at(taught, served.url), retries=0).sample(STATEMENTS[:1], [0], seed=1)
        assert EndpointSource(at(taught, served.url, served_model="tiny")).sample(STATEMENTS[:1], [0], seed=1)


def test_a_question_that_the_server_has_no_room_for_costs_no_later_one_its_fields(taught: Student) -> None:
    long = STATEMENTS[0] + " And then?" * 8
    with serving(Served(taught, most_prompt=len(STATEMENTS[0]) + 20)) as served:
        source = EndpointSource(at(taught, served.url))
        source.sample(STATEMENTS[:1], [0, 1], seed=1)
        with pytest.raises(EndpointError, match=r"too long(.|\n)*--max-model-len"):
            source.sample([long], [0], seed=1)
        with pytest.raises(EndpointError, match="too long"):
            list(source.stream(long, seed=1))
        with pytest.raises(EndpointError, match="too long"), source.session() as session:  # a chain that has begun
            session.add([RowRequest(long, 1, 0, prefix=tuple(taught.tokenizer("Step 1: ")["input_ids"]))])
            list(session.run())
        source.sample(STATEMENTS[:1], [0, 1], seed=1)
    assert {"n", "seed", "logprobs"} <= served.asked[-1].keys() and served.asked[-1]["path"] == "/v1/completions"


def test_a_key_comes_from_the_environment_alone(taught: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Served(taught, key="secret-key")) as served:
        student = at(taught, served.url, served_model="tiny")
        with pytest.raises(EndpointError, match=r"http_401(.|\n)*STUDENT_TINY_TEST_API_KEY"):
            EndpointSource(student).sample(STATEMENTS[:1], [0], seed=1)
        monkeypatch.setenv(key_variable(TAG), "secret-key")
        assert EndpointSource(student).sample(STATEMENTS[:1], [0], seed=1)


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_sent(taught: Student) -> None:
    with serving(Served(taught)) as served:
        with pytest.raises(InvalidInputError, match="tokens"):
            EndpointSource(at(taught, served.url)).sample(["word " * 400], [0], seed=1)
    assert served.asked == []


def test_a_stream_gives_the_text_and_then_the_chain(taught: Student) -> None:
    with serving(Served(taught)) as served:
        *pieces, chain = EndpointSource(at(taught, served.url)).stream(STATEMENTS[0], seed=1, sample_index=GREEDY)
    assert "".join(map(str, pieces)) == chain.text and chain.finished


def test_rollouts_of_a_served_student_are_frozen_like_any_other(home: Home, taught: Student) -> None:
    with serving(Served(taught)) as served:
        student = at(taught, served.url)
        report = build_rollouts(home, student, DATASET, num_candidates=3, seed=1, splits=("test",))
        calls = len(served.asked)
        moved = at(taught, "http://moved:1/v1")
        again = build_rollouts(home, moved, DATASET, num_candidates=3, seed=1, splits=("test",))
        assert again.data_version == report.data_version and len(served.asked) == calls
    found = open_rollouts(home, TAG, DATASET, fingerprint=taught.fingerprint)
    assert found.num_candidates == 3 and len(found.latents) == 3 * len(found.problems)
    own = build_rollouts(home, taught, DATASET, num_candidates=3, seed=1, splits=("test",))
    assert own.metadata["chains_found"] == 0  # the student's own chains are others


def test_copies_of_a_server_that_draws_nothing_are_not_frozen(home: Home, taught: Student) -> None:
    splits: tuple[Split, ...] = ("train", "validation", "test")
    with serving(Served(taught, draws=False)) as served:
        with pytest.raises(EndpointError, match="3 equal chains for each of 32 problems(.|\n)*do_sample"):
            build_rollouts(home, at(taught, served.url), DATASET, num_candidates=3, seed=1, splits=splits)
        served.draws = True
        report = build_rollouts(home, at(taught, served.url), DATASET, num_candidates=3, seed=1, splits=splits)
    assert report.metadata["chains_found"] == 0


def test_the_engine_answers_with_chains_that_the_endpoint_wrote(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, tmp_path / "sources")
    here = Engine.load(home, TAG, "cpu")
    with serving(Served(student)) as served:
        move_to_endpoint(home, student.record, served.url)
        engine = Engine.load(home, TAG, "cpu")
        assert engine.answer(ask(STATEMENT, "off")).text == here.answer(ask(STATEMENT, "off")).text
        answer = engine.answer(ask(STATEMENT, options={"num_candidates": 4}))
        assert len(answer.candidates) == 4 and answer.p_correct is not None and answer.explanation is not None
        *events, last = engine.run(ask(STATEMENT, "off"))
        assert isinstance(last, Done)
        assert "".join(event.text for event in events if isinstance(event, Text)) == last.answer.text
    assert served.asked


def test_a_session_at_an_endpoint_goes_on_from_the_steps_it_is_given(taught: Student) -> None:
    (whole,) = sample_indices(taught, STATEMENTS[:1], [GREEDY], seed=1)[0]
    count = len(taught.tokenizer(whole.text.split("\n")[0] + "\n", add_special_tokens=False)["input_ids"])
    with serving(Served(taught)) as served, EndpointSource(at(taught, served.url)).session() as session:
        kept = tuple(whole.token_ids[:count])
        rows = session.add([RowRequest(STATEMENTS[0], 1, GREEDY, prefix=kept), RowRequest(STATEMENTS[1], 1, 0)])
        events = list(session.run())
        chain, other = session.chains(rows)
    assert served.asked[0]["prompt"] == f"{STATEMENTS[0]}\n{taught.pieces.text(kept)}"
    assert chain.text == whole.text and chain.token_ids == whole.token_ids and chain.finished
    np.testing.assert_allclose(chain.token_logprobs, whole.token_logprobs, atol=1e-4)
    assert chain.latents is not None and whole.latents is not None
    np.testing.assert_allclose(chain.latents.astype(float), whole.latents.astype(float), atol=8e-3)
    assert "".join(e.text for e in events if isinstance(e, Token) and e.row == rows[1]) == other.text
    assert session.counts.generated == len(chain.token_ids) - count + len(other.token_ids)


def test_a_server_without_completions_cannot_go_on_from_a_beginning(taught: Student) -> None:
    with serving(Served(taught, completions=False)) as served:
        with EndpointSource(at(taught, served.url)).session(capture=False) as session:
            session.add([RowRequest(STATEMENTS[0], 1, prefix=(5, 6))])
            with pytest.raises(EndpointError, match="has no /completions(.|\n)*vLLM"):
                list(session.run())


def test_a_session_at_an_endpoint_refuses_what_the_protocol_lacks(taught: Student) -> None:
    with serving(Served(taught)) as served:
        source = EndpointSource(at(taught, served.url))
        with source.session() as session:
            (row,) = session.add([RowRequest(STATEMENTS[0], 1)])
            for refused in (
                lambda: session.fork(row, sample_index=0),
                lambda: session.set_bias(row, None),
                lambda: session.set_edit(row, None),
                lambda: session.latents(row),
                lambda: next(session.run(Until.STEP)),
            ):
                with pytest.raises(InvalidInputError, match="cannot do"):
                    refused()
        with pytest.raises(InvalidInputError, match="mode plan wants steps(.|\n)*record without endpoint"):
            require(source, Capability.STEPS, "plan")
    assert served.asked == []


def test_leaving_aborts_the_requests(taught: Student) -> None:
    class LeftError(Exception):
        pass

    def leave(done: int, total: int, note: str = "") -> None:
        if served.asked:
            raise LeftError

    for how in ("iterator", "progress"):
        with serving(Served(taught, stalls=True)) as served:
            source = EndpointSource(at(taught, served.url, served_model="tiny"))
            if how == "progress":
                with pytest.raises(LeftError):
                    source.sample(STATEMENTS[:1], [0], seed=1, progress=leave)
            else:
                with source.session() as session:
                    session.add([RowRequest(STATEMENTS[0], 1)])
                    run = session.run()
                    while not served.asked:
                        assert isinstance(next(run), Pass)
                    run.close()
            assert served.aborted.wait(PATIENCE)


def test_rules_go_to_the_server_in_its_own_words_and_its_text_ends_before_a_stop_string(taught: Student) -> None:
    rules = TokenRules(0.9, 5, 0.1, 0.5, -0.5, ((3, -100.0), (7, 2.0)), ("Answer", "##"), top_logprobs=2)
    with serving(Served(taught)) as served:
        source = EndpointSource(at(taught, served.url))
        with source.session(capture=False) as session:
            plain, ruled = session.add(
                [RowRequest(STATEMENTS[0], 1, GREEDY, rules=one) for one in (TokenRules(), rules)]
            )
            events = list(session.run())
            whole, chain = session.chains([plain, ruled])
    first, second = sorted((body for body in served.asked if "prompt" in body), key=len)
    assert not {"top_p", "stop", "logit_bias"} & first.keys()
    assert second.items() >= {
        "top_p": 0.9, "top_k": 5, "min_p": 0.1, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "logit_bias": {"3": -100.0, "7": 2.0}, "stop": ["Answer", "##"],
    }.items()  # fmt: skip
    # The server of these tests knows none of them: what it writes past the string is cut here.
    assert chain.text == whole.text[: whole.text.index("Answer")] and chain.finished
    assert chain.scores is not None and [score.token for score in chain.scores] == chain.token_ids
    told = [one for event in events if isinstance(event, Token) and event.row == ruled for one in event.scores]
    assert told == list(chain.scores) and all(len(score.top) == 2 for score in chain.scores)


def test_plain_text_of_a_server_goes_on_past_an_answer_line(taught: Student) -> None:
    with serving(Served(taught, tail="more")) as served, EndpointSource(at(taught, served.url)).session() as session:
        rules = TokenRules(ends_at_answer=False)
        rows = session.add([RowRequest(STATEMENTS[0], 1, GREEDY, rules=one) for one in (TokenRules(), rules)])
        list(session.run())
        chain, free = session.chains(rows)
    assert free.text == f"{chain.text}more"
