"""A student that a server writes token by token for us, over real HTTP: as its own weights write here."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError, RjepaError
from rjepa.sampling.endpoint import EndpointError, EndpointSource
from rjepa.sampling.proposals import TokenNames, read_proposals
from rjepa.sampling.protocol import Capability, ChainSource, DecodingSession, source_for
from rjepa.sampling.stepped import AHEAD
from rjepa.students.generation import sample_indices
from rjepa.students.loading import Student
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import GREEDY, ChainEnd, Pass, RowRequest, StepEnd, Token, Tokens, Until
from rjepa.students.session import Session
from rjepa.teacher.errors import CallError
from tests.patience import PATIENCE
from tests.sampling.servers import Served, serving
from tests.students.tiny import taught_pairs

pytestmark = pytest.mark.slow

STATEMENTS = [pair[0] for pair in taught_pairs()[:3]]
SAMPLES = [GREEDY, 0, 1, 2]


@pytest.fixture(scope="module", params=["stand-in", "llama.cpp"])
def url(request: pytest.FixtureRequest, taught: Student, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the taught student's weights: once of our stand-in's, once of llama.cpp's own."""
    if request.param == "stand-in":
        with serving(Served(taught)) as served:
            yield served.url
        return
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    from tests.sampling.llama_cpp import llama_cpp
    from tests.students.gguf_files import write_gguf

    with llama_cpp(
        write_gguf(tmp_path_factory.mktemp("llama") / "taught.gguf", taught.model, taught.tokenizer)
    ) as found:
        yield found


def stepped(student: Student, url: str) -> ChainSource:
    record = student.record.model_copy(update={"endpoint": url})
    return EndpointSource(replace(student, record=record)).by_steps()


def requests(**more: Any) -> list[RowRequest]:
    return [RowRequest(statement, 3, sample, 0.9, **more) for statement in STATEMENTS for sample in SAMPLES]


def same_as_here(session: DecodingSession, here: DecodingSession, rows: list[int]) -> None:
    """Rows of both have the same tokens, scores and latents."""
    for there, own in zip(session.chains(rows), here.chains(rows), strict=True):
        assert (there.text, there.token_ids, there.finished) == (own.text, own.token_ids, own.finished)
        np.testing.assert_allclose(there.token_logprobs, own.token_logprobs, atol=2e-3)
        assert there.latents is not None and own.latents is not None
        np.testing.assert_allclose(there.latents.astype(float), own.latents.astype(float), atol=8e-3)


def test_whole_chains_are_those_of_the_students_own_session(taught: Student, url: str) -> None:
    with stepped(taught, url).session() as session, Session(taught) as here:
        rows = session.add(requests())
        assert rows == here.add(requests())
        events = list(session.run())
        list(here.run())
        same_as_here(session, here, rows)
        text = {
            row: "".join(e.text for e in events if isinstance(e, Token | ChainEnd) and e.row == row) for row in rows
        }
        assert text == {row: session.chain(row).text for row in rows}
        assert session.counts.generated == sum(len(session.tokens(row)) for row in rows)
        assert session.counts.passes >= session.counts.generated  # what was proposed in vain is counted
        assert len({session.chain(row).text for row in rows}) > len(STATEMENTS)


def test_rows_pause_at_steps_with_their_latents_and_go_on(taught: Student, url: str) -> None:
    with stepped(taught, url).session() as session, Session(taught) as here:
        rows = session.add(requests())
        here.add(requests())
        for _ in range(2):
            ends = [event for event in session.run(Until.STEP, tokens=False) if isinstance(event, StepEnd)]
            own = [event for event in here.run(Until.STEP, tokens=False) if isinstance(event, StepEnd)]
            assert sorted(map(repr, ends)) == sorted(map(repr, own)) != []
            for row in rows:
                found, known = session.latents(row), here.latents(row)
                np.testing.assert_allclose(found.astype(float), known.astype(float), atol=8e-3)
        list(session.run())
        list(here.run())
        same_as_here(session, here, rows)


def test_the_prompts_latent_is_there_before_a_word_is_written(taught: Student, url: str) -> None:
    with stepped(taught, url).session() as session, Session(taught) as here:
        session.add(requests()[:1])
        here.add(requests()[:1])
        list(here.run(Tokens(1)))
        found = session.latents(0)
        np.testing.assert_allclose(found.astype(float), here.latents(0)[:1].astype(float), atol=8e-3)
        assert session.tokens(0) == []
        list(session.run(Tokens(3)))
        assert len(session.tokens(0)) == 3


def test_forks_held_rows_and_late_ones_go_on_as_here(taught: Student, url: str) -> None:
    with stepped(taught, url).session() as session, Session(taught) as here:
        for one in (session, here):
            rows = one.add(requests()[:4])
            list(one.run(Until.STEP))
            children = [one.fork(row, keep_steps=1, sample_index=7) for row in rows]
            children.append(one.fork(rows[1], keep_tokens=2, sample_index=1))
            one.hold(rows[0])
            one.drop(rows[2])
            late = one.add(requests()[5:7])
            list(one.run())
            assert not one.is_over(rows[0]) and all(one.is_over(row) for row in [*children, *late])
            one.go_on(rows[0])
            list(one.run())
            one.forget([rows[3]])
            (again,) = one.add(requests()[8:9])
            list(one.run())
        assert again == rows[3]
        same_as_here(session, here, [rows[0], rows[1], *children, *late, again])


def test_a_bias_a_function_and_rules_bend_what_is_drawn_as_here(taught: Student, url: str) -> None:
    vocabulary = len(taught.model.get_output_embeddings().weight)
    generator = torch.Generator().manual_seed(5)
    bias = 2 * torch.randn(vocabulary, generator=generator)
    rules = TokenRules(top_p=0.9, top_k=8, frequency_penalty=0.3, presence_penalty=0.2, stop=("\n",))
    with stepped(taught, url).session() as session, Session(taught) as here:
        for one in (session, here):
            plain = one.add(requests()[:4])
            ruled = one.add(requests(rules=rules)[4:8])
            one.set_bias(plain[0], bias)
            one.set_bias(plain[1], lambda tokens: bias if len(tokens) % 2 else None)
            list(one.run())
        # A token beyond the twenty that a server names may win with such a bias: as far as none does, all is the same.
        assert session.chain(plain[0]).text[:4] == here.chain(plain[0]).text[:4]
        same_as_here(session, here, [plain[2], plain[3], *ruled])
        assert session.chain(plain[1]).text != session.chain(plain[2]).text


def test_states_cannot_be_edited_there(taught: Student, url: str) -> None:
    source = stepped(taught, url)
    assert source.capabilities == frozenset(Capability) - {Capability.EDIT}
    with source.session() as session:
        session.add(requests()[:1])
        session.set_edit(0, None)
        with pytest.raises(InvalidInputError, match="cannot do edit"):
            session.set_edit(0, torch.zeros(taught.hidden_size))


@pytest.mark.parametrize(
    "behaviour",
    [
        {"most_logprobs": 5},
        {"token_prompts": False},
        {"refuses": ("return_tokens_as_token_ids",)},
        {"token_prompts": False, "most_logprobs": 5, "refuses": ("return_tokens_as_token_ids",)},
        {"failures": 1},
    ],
    ids=["five at a place", "prompts of text", "no names by id", "barest", "stumbles once"],
)
def test_a_server_is_asked_in_the_best_form_that_it_takes(taught: Student, behaviour: dict[str, Any]) -> None:
    own = sample_indices(taught, STATEMENTS, [GREEDY], seed=1)
    with serving(Served(taught, **behaviour)) as served, stepped(taught, served.url).session() as session:
        rows = session.add([RowRequest(statement, 1, GREEDY) for statement in STATEMENTS])
        list(session.run())
        assert [session.chain(row).text for row in rows] == [chains[0].text for chains in own]
    last = served.asked[-1]
    assert last["max_tokens"] <= AHEAD and last["temperature"] == 0
    assert last["logprobs"] == behaviour.get("most_logprobs", 20)
    assert isinstance(last["prompt"], list) == behaviour.get("token_prompts", True)


def test_a_form_is_not_given_up_for_a_request_that_is_refused_in_every_form(taught: Student) -> None:
    with serving(Served(taught, refuses=("prompt",))) as served:
        source = stepped(taught, served.url)
        with source.session() as session, pytest.raises(EndpointError, match="http_422"):
            session.add(requests()[:1])
            list(session.run())
        served.refuses = ()
        with source.session() as session:
            session.add(requests()[:1])
            list(session.run())
        assert served.asked[-1]["logprobs"] == 20 and isinstance(served.asked[-1]["prompt"], list)


@pytest.mark.parametrize(
    ("logprobs", "found"),
    [
        (
            {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -1.0, "?!": -2.0}]},
            [-0.5, -1.0],
        ),
        ({"tokens": ["a"], "token_logprobs": [0.1], "top_logprobs": [{"b": float("nan")}]}, [0.0]),
        (
            {"content": [{"token": "", "id": 5, "logprob": -0.2, "top_logprobs": [{"token": "b", "logprob": -1.0}]}]},
            [-0.2, -1.0],
        ),
        ({"tokens": ["?!"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}]}, None),
        ({"tokens": ["a"], "token_logprobs": [float("nan")], "top_logprobs": [{"a": -0.5}]}, None),
    ],
    ids=["a name that is none", "no number", "by id", "an unknown token", "no number of its own"],
)
def test_a_reply_is_read_as_far_as_it_makes_sense(
    taught: Student, logprobs: dict[str, Any], found: list[float] | None
) -> None:
    reply = json.dumps({"choices": [{"text": "a", "logprobs": logprobs, "finish_reason": "length"}]})
    if found is None:
        assert read_proposals(reply, TokenNames(taught)) == ([], False)
        return
    (proposal,), ended = read_proposals(reply, TokenNames(taught))
    np.testing.assert_allclose(proposal.logprobs, found, atol=1e-6)
    assert not ended and proposal.own == proposal.ids[0]


@pytest.mark.parametrize("reply", ["", "[]", "{}", '{"choices": []}', '{"choices": [{"logprobs": {"content": [1]}}]}'])
def test_a_reply_that_is_no_completion_is_told_as_one(taught: Student, reply: str) -> None:
    with pytest.raises(CallError, match="not_a_completion"):
        read_proposals(reply, TokenNames(taught))


def test_what_a_server_would_go_on_with_anyway_is_asked_for_once(taught: Student) -> None:
    with serving(Served(taught)) as served, stepped(taught, served.url).session() as session:
        (row,) = session.add([RowRequest(STATEMENTS[0], 1, GREEDY)])
        list(session.run())
        tokens = len(session.tokens(row))
    assert len(served.asked) == -(-tokens // AHEAD)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"completions": False}, "has no /completions"),
        ({"alternatives": False}, "no log-probabilities of the most probable tokens"),
        ({"most_logprobs": 1}, "at most 1 logprobs"),
        ({"key": "secret"}, "http_401"),
        ({"models": ("one", "two")}, "name its model"),
    ],
)
def test_a_server_that_cannot_do_it_is_refused_with_what_would(
    taught: Student, behaviour: dict[str, Any], words: str
) -> None:
    with serving(Served(taught, **behaviour)) as served, stepped(taught, served.url).session() as session:
        session.add(requests()[:2])
        with pytest.raises(RjepaError, match=words):
            list(session.run())


def test_a_server_that_is_not_there_is_named(taught: Student) -> None:
    endpoint = EndpointSource(
        replace(taught, record=taught.record.model_copy(update={"endpoint": "http://127.0.0.1:9/v1"})), retries=0
    )
    with endpoint.by_steps().session() as session:
        session.add(requests()[:1])
        with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9"):
            list(session.run())


def test_leaving_aborts_the_request(taught: Student) -> None:
    with serving(Served(taught, stalls=True)) as served:
        with stepped(taught, served.url).session(capture=False) as session:
            session.add(requests()[:1])
            events = session.run()
            while not served.asked:
                assert isinstance(next(events), Pass)
            events.close()
        assert served.aborted.wait(PATIENCE)


def test_an_endpoint_is_asked_for_whole_chains_where_a_mode_needs_no_more(taught: Student) -> None:
    endpoint = EndpointSource(replace(taught, record=taught.record.model_copy(update={"endpoint": "http://x/v1"})))
    assert source_for(endpoint, frozenset({Capability.CHAINS, Capability.STATES})) is endpoint
    assert source_for(endpoint, frozenset({Capability.STEPS})) is endpoint.by_steps() is endpoint.by_steps().by_steps()
