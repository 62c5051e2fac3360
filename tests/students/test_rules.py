"""What rules of drawing do to logits and to text: against transformers' own, and against what a user would see."""

import itertools
import random

import pytest
import torch
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from rjepa.students.rules import PLAIN, TokenRules
from rjepa.students.shaping import add_to_logits, narrow
from rjepa.students.stopping import StopWatch

LOGITS = torch.randn(6, 200, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize(
    "rules",
    [
        TokenRules(top_p=0.3),
        TokenRules(top_p=0.95),
        TokenRules(top_k=1),
        TokenRules(top_k=7),
        TokenRules(min_p=0.05),
        TokenRules(top_p=0.6, top_k=20, min_p=0.1),
    ],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_the_tokens_that_can_be_drawn_are_those_that_transformers_leaves(rules: TokenRules, temperature: float) -> None:
    scores = TemperatureLogitsWarper(temperature)(None, LOGITS)  # type: ignore[arg-type]
    if rules.top_k:
        scores = TopKLogitsWarper(rules.top_k)(None, scores)  # type: ignore[arg-type]
    if rules.top_p < 1:
        scores = TopPLogitsWarper(rules.top_p)(None, scores)  # type: ignore[arg-type]
    if rules.min_p:
        scores = MinPLogitsWarper(rules.min_p)(None, scores)  # type: ignore[arg-type]
    narrowed = narrow(LOGITS, rules, temperature)
    assert torch.equal(narrowed.isfinite(), scores.isfinite())
    assert torch.equal(narrowed[narrowed.isfinite()], LOGITS[narrowed.isfinite()])


def test_a_share_of_nothing_leaves_the_most_probable_token() -> None:
    narrowed = narrow(LOGITS, TokenRules(top_p=0), 1.0)
    assert torch.equal(narrowed.isfinite().sum(dim=1), torch.ones(6, dtype=torch.long))
    assert torch.equal(narrowed.argmax(dim=1), LOGITS.argmax(dim=1))


def test_penalties_count_tokens_as_openai_says() -> None:
    logits = torch.zeros(5)
    rules = TokenRules(presence_penalty=0.5, frequency_penalty=0.25, logit_bias=((0, 3.0), (2, -100.0)))
    add_to_logits(logits, rules, [1, 2, 1, 1])
    assert logits.tolist() == [3.0, -0.5 - 3 * 0.25, -100.0 - 0.75, 0.0, 0.0]


@pytest.mark.parametrize(
    "wrong", [{"top_p": 1.2}, {"stop": ("",)}, {"logit_bias": ((1, 200.0),)}, {"top_logprobs": 99}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TokenRules(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(300))
def test_a_stream_shows_exactly_the_text_before_the_first_stop_string(seed: int) -> None:
    """Random texts of few letters, cut into random pieces, so that strings span pieces, overlap and nearly come."""
    draw = random.Random(seed)
    text = "".join(draw.choices("abé\n", k=draw.randint(0, 30)))
    stops = tuple({"".join(draw.choices("abé\n", k=draw.randint(1, 5))) for _ in range(draw.randint(1, 4))})
    data = text.encode()
    cuts = sorted(draw.choices(range(len(data) + 1), k=draw.randint(0, 12)))
    watch, shown = StopWatch(stops), b""
    for start, end in itertools.pairwise([0, *cuts, len(data)]):
        shown += watch.read(data[start:end])
        assert not any(stop.encode() in shown for stop in stops)
        if watch.cut is not None:
            break
    shown += watch.rest()
    # A piece may end several stop strings: of those that have come by then, the one that begins first counts.
    ends = [text.find(stop) for stop in stops if stop in text]
    if not ends:
        assert shown == data and watch.cut is None
    else:
        assert watch.cut == len(shown) and text.encode().startswith(shown)
        assert any(text[len(shown.decode()) :].startswith(stop) for stop in stops)


def test_nothing_that_may_become_a_stop_string_is_shown_before_it_is_known() -> None:
    watch = StopWatch(("\n\nQ:",))
    assert [watch.read(piece) for piece in (b"five\n", b"\nQ", b"uick\n", b"\n", b"Q:")] == [
        b"five",
        b"",
        b"\n\nQuick",
        b"",
        b"",
    ]
    assert watch.cut == len("five\n\nQuick") and watch.rest() == b""


def test_a_stop_string_may_span_what_a_row_began_with() -> None:
    watch = StopWatch(("ab",), beginning=b"ab a")
    assert watch.read(b"b") == b"" and watch.cut == 3


def test_plain_rules_change_nothing() -> None:
    assert not PLAIN.adds and not PLAIN.narrows
