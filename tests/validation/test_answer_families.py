"""Kinds of answers that graders got wrong, each with its relatives: other sizes, units, spellings, dress.

The right spellings of a kind are accepted, its near misses are not. Whatever is here was decided before it was tried.
"""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rjepa.schemas import Problem
from rjepa.validation.answers import answer_key, answers_match
from rjepa.validation.judge import judge
from rjepa.validation.maths import MathsPool, compare
from rjepa.validation.spelling import is_malformed

from . import answers_in_other_dress, answers_of_formulas, answers_of_numbers

TABLES = {"numbers": answers_of_numbers, "formulas": answers_of_formulas, "in other dress": answers_in_other_dress}
SAME = {f"{name}: {kind}": pairs for name, table in TABLES.items() for kind, pairs in table.SAME.items()}
OTHER = {f"{name}: {kind}": pairs for name, table in TABLES.items() for kind, pairs in table.OTHER.items()}

UNREADABLE_GOLD = [
    r"\frac{3x}{",
    r"\frac{1}{",
    r"\frac{1}",
    r"\frac",
    r"\sqrt{2",
    r"\sqrt",
    r"\begin{pmatrix}1\\2",
    "{1,2",
    r"\left(1,2",
    "1}",
    r"\boxed{}",
    r"\text{ }",
    "$$",
    "~~5~~",
    "",
    "  ",
]


@pytest.fixture(scope="module")
def pool() -> Iterator[MathsPool]:
    with MathsPool(2) as opened:
        yield opened


@pytest.mark.parametrize("kind", SAME)
def test_right_answers_of_a_kind_are_accepted(pool: MathsPool, kind: str) -> None:
    found = pool.compare_all(SAME[kind])
    assert [(pair, one.reason) for pair, one in zip(SAME[kind], found, strict=True) if not one.equal] == []


@pytest.mark.parametrize("kind", OTHER)
def test_near_misses_of_a_kind_are_refused(pool: MathsPool, kind: str) -> None:
    found = pool.compare_all(OTHER[kind])
    assert [pair for pair, one in zip(OTHER[kind], found, strict=True) if one.equal] == []
    assert [pair for pair in OTHER[kind] if answers_match(*pair)] == []
    assert [pair for pair in OTHER[kind] if answer_key(pair[0]) == answer_key(pair[1])] == []


def test_every_readable_answer_equals_itself(pool: MathsPool) -> None:
    texts = [(text, text) for pairs in (*SAME.values(), *OTHER.values()) for pair in pairs for text in pair]
    texts = [pair for pair in texts if not is_malformed(pair[0])]
    assert [one for one, found in zip(texts, pool.compare_all(texts), strict=True) if not found.equal] == []


@pytest.mark.parametrize("gold", UNREADABLE_GOLD)
def test_nobody_is_right_by_a_gold_answer_that_cannot_be_read(pool: MathsPool, gold: str) -> None:
    answers = ["3x", "5", "Paris", "0"]
    assert {found.reason for found in pool.compare_all([(gold, answer) for answer in answers])} == {"unparsable"}
    problem = Problem(problem_id="p", domain="math", source="t", statement="-", answer_gold=gold)
    for answer in (*answers, gold or "5"):
        verdict = judge(problem, ["So."], answer)
        assert (verdict.is_correct, verdict.reason) in ((False, "answer_unparsable"), (False, "no_gold_answer"))


@pytest.mark.parametrize("gold", [r"\foo{x}", "2^3^4", r"\int_0^1 x\,dx", "(3, 4", "5/0", "1/2x"])
def test_a_gold_answer_that_we_cannot_read_is_answered_by_its_own_text_alone(pool: MathsPool, gold: str) -> None:
    assert pool.compare(gold, gold).equal
    assert {found.reason for found in pool.compare_all([(gold, "5"), (gold, "x")])} == {"unparsable"}


NUMBERS = st.one_of(
    st.integers(-(10**22), 10**22).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9).map(str),
    st.tuples(st.integers(-99, 99), st.integers(1, 99)).map(lambda parts: f"{parts[0]}/{parts[1]}"),
)
BEHIND = st.sampled_from(
    [
        "",
        " cm",
        "cm",
        " m",
        "m",
        " cm^2",
        "²",
        " km/h",
        " million",
        " apples",
        " apple",
        "%",
        " dollars",
        " Apples",
        " °C",
        "i",
    ]
)
BEFORE = st.sampled_from(["", "$", "€", "-", "**", "\\boxed{"])
ANSWERS = st.one_of(
    st.tuples(BEFORE, NUMBERS, BEHIND).map("".join),
    st.text(max_size=30),
    st.text(alphabet="0123456789.,/ -+$%eE'_acmsk^²{}\\", max_size=14),
)


@given(ANSWERS)
@settings(max_examples=300, deadline=None)
def test_an_answer_with_a_key_equals_itself_and_its_key(answer: str) -> None:
    key = answer_key(answer)
    if key is not None:
        assert answer_key(key) == key
        assert compare(answer, answer).equal
        assert compare(answer, key).equal
        assert compare(key, answer).equal


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**30), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_whole_numbers_and_fractions_are_equal_only_to_themselves(top: int, bottom: int, slip: int) -> None:
    assert compare(str(top), f"{top:,}").equal
    assert not compare(str(top), str(top + slip)).equal
    assert not compare(f"{top}/{bottom}", f"{top + slip}/{bottom}").equal
    assert compare(f"{top}/{bottom}", f"{7 * top}/{7 * bottom}").equal
    assert (answer_key(str(top)) == answer_key(str(top + slip))) is False


DRESSES = st.sampled_from(
    [
        "{}",
        "**{}**",
        "`{}`",
        '"{}"',
        "${}$",
        r"\boxed{{{}}}",
        r"$\boxed{{{}}}$",
        r"\textcolor{{red}}{{{}}}",
        r"\underline{{{}}}",
        "<b>{}</b>",
        "<answer>{}</answer>",
        "✅ {}",
        "x = {}",
        "The answer is {}.",
        "**Answer:** {}",
        "```\n{}\n```",
    ]
)


@given(NUMBERS, st.integers(0, 1), DRESSES, DRESSES)
@settings(max_examples=80, deadline=None)
def test_dress_does_not_change_the_verdict(number: str, slip: int, one: str, other: str) -> None:
    given_number = number if not slip else f"{number}1" if "/" in number else f"-{number.lstrip('-')}7"
    equal = compare(number, given_number).equal
    assert equal or slip
    assert compare(number, one.format(given_number)).equal == equal
    assert compare(one.format(number), other.format(given_number)).equal == equal


@given(NUMBERS, BEHIND, NUMBERS, BEHIND)
@settings(max_examples=100, deadline=None)
def test_numbers_with_what_stands_behind_them_agree_both_ways(one: str, behind: str, other: str, after: str) -> None:
    first, second = one + behind, other + after
    assert compare(first, second).equal == compare(second, first).equal
    assert compare(first, one + after).equal == compare(one + after, first).equal


@given(st.integers(0, 999_999), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_whole_number_in_words_is_that_number_and_no_other(number: int, negative: bool) -> None:
    sign, words = ("-", f"minus {in_words(number)}") if negative and number else ("", in_words(number))
    assert compare(f"{sign}{number}", words).equal
    assert not compare(f"{sign}{number + 1}", words).equal


def in_words(number: int) -> str:
    small = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen"
    ).split()
    if number >= 1000:
        rest = number % 1000
        return f"{in_words(number // 1000)} thousand" + (f" {in_words(rest)}" if rest else "")
    if number >= 100:
        rest = number % 100
        return f"{small[number // 100]} hundred" + (f" and {in_words(rest)}" if rest else "")
    if number < 20:
        return small[number]
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()[number // 10 - 2]
    return tens if number % 10 == 0 else f"{tens}-{small[number % 10]}"
