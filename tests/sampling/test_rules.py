"""Rows with rules of their own beside rows that have none, here and in another process; what is told of tokens."""

import dataclasses
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.sampling.local import LocalSource
from rjepa.sampling.process import ProcessSource
from rjepa.sampling.protocol import ChainSource
from rjepa.sampling.server import make_server
from rjepa.students.loading import Student
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import GREEDY, ChainEnd, RowRequest, SampledChain, Token
from tests.students.tiny import taught_pairs

STATEMENTS = [pair[0] for pair in taught_pairs()[:3]]
PLAIN_ROW = RowRequest(STATEMENTS[0], 7, 0, 1.5, 40)


@pytest.fixture(scope="module", params=["local", "process"])
def source(request: pytest.FixtureRequest, taught: Student) -> Iterator[ChainSource]:
    local = LocalSource(taught)
    if request.param == "local":
        yield local
        return
    with make_server(local) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        from rjepa.home import Home

        yield ProcessSource(Home(taught.path), taught.record, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def write(source: ChainSource, *requests: RowRequest, capture: bool = True) -> tuple[list[SampledChain], list[str]]:
    """The chains of these rows in one batch, and the text that each streamed."""
    with source.session(capture=capture) as session:
        rows = session.add(requests)
        texts = dict.fromkeys(rows, "")
        for event in session.run():
            if isinstance(event, Token | ChainEnd):
                texts[event.row] += event.text
        return session.chains(rows), [texts[row] for row in rows]


def ruled(request: RowRequest = PLAIN_ROW, **rules: object) -> RowRequest:
    return dataclasses.replace(request, rules=TokenRules(**rules))  # type: ignore[arg-type]


def test_rows_of_one_batch_keep_to_their_own_rules(source: ChainSource) -> None:
    plain, greedy = PLAIN_ROW, dataclasses.replace(PLAIN_ROW, sample_index=GREEDY)
    requests = [plain, greedy, ruled(top_k=1), ruled(top_p=0.0), ruled(logit_bias=((5, 100.0),)), ruled(min_p=1.0)]
    together, _ = write(source, *requests)
    for request, chain in zip(requests, together, strict=True):
        (alone,), _ = write(source, request)
        assert (chain.text, chain.token_ids, chain.finished) == (alone.text, alone.token_ids, alone.finished)
    one, most_probable, first, share, forced, least = together
    assert first.token_ids == share.token_ids == least.token_ids == most_probable.token_ids != one.token_ids
    assert set(forced.token_ids) == {5} and not forced.finished


def test_a_banned_token_never_comes_and_penalties_keep_tokens_from_coming_again(source: ChainSource) -> None:
    (plain,), _ = write(source, PLAIN_ROW)
    banned = plain.token_ids[3]
    free = ruled(ends_at_answer=False)
    (without, often, seldom), _ = write(
        source, ruled(logit_bias=((banned, -100.0),)), free, ruled(free, ends_at_answer=False, frequency_penalty=2.0)
    )
    assert banned not in without.token_ids
    assert len({*seldom.token_ids}) > len({*often.token_ids}) or len(seldom.token_ids) < len(often.token_ids)


def test_logprobs_stay_the_students_own_whatever_the_rules(source: ChainSource, taught: Student) -> None:
    (chain,), _ = write(source, ruled(top_p=0.5, presence_penalty=1.0, logit_bias=((9, 4.0),), top_logprobs=3))
    prompt = taught.tokenizer(f"{STATEMENTS[0]}\n")["input_ids"]
    with torch.inference_mode():
        logits = taught.model(input_ids=torch.tensor([prompt + chain.token_ids])).logits[0, len(prompt) - 1 : -1]
    expected = logits.float().log_softmax(-1)
    own = expected.gather(1, torch.tensor(chain.token_ids)[:, None])[:, 0]
    np.testing.assert_allclose(chain.token_logprobs, own, atol=1e-4)
    assert chain.scores is not None
    drawn = chain.scores[: len(chain.token_ids)]
    assert [score.token for score in drawn] == chain.token_ids
    np.testing.assert_allclose([score.logprob for score in drawn], own, atol=1e-4)
    best = expected.topk(3, dim=-1)
    assert [[one.token for one in score.top] for score in drawn] == best.indices.tolist()
    np.testing.assert_allclose([[one.logprob for one in score.top] for score in drawn], best.values, atol=1e-4)
    assert b"".join(score.piece for score in drawn).decode() == chain.text


def test_the_token_that_ends_the_sequence_has_a_score_too(source: ChainSource, taught: Student) -> None:
    end = min(taught.eos_ids)
    (chain,), _ = write(source, ruled(logit_bias=((end, 100.0),), top_logprobs=0))
    assert chain.text == "" and chain.token_ids == [] and chain.finished
    assert chain.scores is not None and [score.token for score in chain.scores] == [end]
    assert chain.scores[0].piece == str(taught.tokenizer.convert_ids_to_tokens(end)).encode()


def test_a_text_ends_before_its_stop_string_wherever_tokens_part_it(source: ChainSource) -> None:
    (plain,), _ = write(source, PLAIN_ROW)
    text = plain.text
    for start in range(1, min(len(text) - 4, 25)):
        stop = text[start : start + 4]
        with source.session() as session:
            (row,) = session.add([ruled(stop=("zzz", stop), top_logprobs=0)])
            pieces = [(event.text, event.scores) for event in session.run() if isinstance(event, Token | ChainEnd)]
            chain = session.chain(row)
        streamed, told = "".join(text for text, _ in pieces), [one for _, scores in pieces for one in scores]
        assert [one.token for one in told] == chain.token_ids and chain.scores == tuple(told)
        assert chain.text == streamed == text[: text.index(stop)] and chain.finished
        assert chain.token_ids == plain.token_ids[: len(chain.token_ids)]
        assert chain.latents is not None and plain.latents is not None
        np.testing.assert_array_equal(chain.latents[:1], plain.latents[:1])


def test_a_stop_string_that_never_comes_changes_nothing(source: ChainSource) -> None:
    (plain, stopped), (first, second) = write(source, PLAIN_ROW, ruled(stop=(f"{STATEMENTS[0]}!",)))
    assert plain.text == stopped.text == first == second and plain.token_ids == stopped.token_ids


def test_a_text_that_ends_within_a_stop_string_shows_what_was_held_back(source: ChainSource) -> None:
    short = dataclasses.replace(PLAIN_ROW, max_new_tokens=6)
    (plain,), _ = write(source, short)
    (chain,), (streamed,) = write(source, ruled(short, stop=(plain.text[-2:] + "!",)))
    assert chain.text == streamed == plain.text and not chain.finished


def test_a_fork_keeps_its_parents_rules_and_their_scores(source: ChainSource) -> None:
    with source.session() as session:
        (row,) = session.add([ruled(top_logprobs=1, logit_bias=((5, 100.0),))])
        list(session.run())
        child = session.fork(row, sample_index=0, keep_tokens=4)
        list(session.run())
        chain = session.chain(child)
    assert set(chain.token_ids) == {5}
    assert chain.scores is not None and [score.token for score in chain.scores] == chain.token_ids


def test_plain_text_goes_on_past_an_answer_line(source: ChainSource) -> None:
    greedy = dataclasses.replace(PLAIN_ROW, sample_index=GREEDY, max_new_tokens=60)
    (chain, free), _ = write(source, greedy, ruled(greedy, ends_at_answer=False), capture=False)
    assert "Answer" in chain.text and free.text.startswith(chain.text)


def test_a_bias_of_a_token_that_is_none_is_refused(source: ChainSource) -> None:
    with source.session() as session, pytest.raises(InvalidInputError, match="has no token 999999"):
        session.add([ruled(logit_bias=((999_999, 1.0),))])
