import time

import pytest

from rjepa.schemas import Problem
from rjepa.validation.judge import judge
from rjepa.validation.multiple_choice import check_choice, read_choice

CITIES = ["Rome", "Paris", "A dog", "12", "New York"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("[B]", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("**B**", "B"),
        (r"\boxed{B}", "B"),
        (r"$\text{(B)}$", "B"),
        ("The answer is B", "B"),
        ("the correct answer is (B).", "B"),
        ("So the answer is: B", "B"),
        ("Answer: B", "B"),
        ("Option B", "B"),
        ("B. Paris", "B"),
        ("B: paris", "B"),
        ("(B) Paris", "B"),
        ("B Paris", "B"),
        ("B) because the Seine runs through it", "B"),
        (": B", "B"),
        ("A. Rome B. Paris, so (B)", None),
        ("Paris", "B"),
        ("the answer is paris.", "B"),
        ("A dog", "C"),
        ("12.0", "D"),
        ("E", "E"),
        ("F", None),
        ("B or C", None),
        ("A, B", None),
        ("B. Rome", None),
        ("London", None),
        ("A cat", None),
        ("", None),
        ("I do not know", None),
    ],
)
def test_an_option_is_read_in_its_usual_spellings(answer: str, letter: str | None) -> None:
    assert read_choice(answer, CITIES) == letter


PLAIN = ["Rome", "Paris", "Oslo", "Bern", "Kyiv"]


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is B because the Seine runs through it.",
        "B since it is on the Seine",
        "B is the right answer",
        "B is correct.",
        "B is correct because the Seine runs through it",
        "B\n\nExplanation: it lies on the Seine.",
        "(B)\nParis is on the Seine",
        "B - Paris",
        "B \u2013 Paris",
        "B\u2014Paris",
        "B, Paris",
        "B; Paris",
        "B (Paris)",
        "**B**. Paris",
        "**B.** Paris, on the Seine",
        "B!",
        '"B"',
        "\uff22",
        "\uff08B\uff09",
        "\u24b7",
        r"\boxed{\textbf{(B)}}",
        r"\boxed{B: Paris}",
        r"The answer is $\boxed{B}$.",
        r"$\mathrm{B}$",
        "I think the answer is B",
        "I choose B",
        "It's B",
        "Therefore, the correct option is B.",
        "\u7b54\u6848\uff1aB",
        "\uc815\ub2f5: B",
    ],
)
def test_a_letter_chooses_with_words_and_dress_around_it(answer: str) -> None:
    assert read_choice(answer, PLAIN) == "B"


@pytest.mark.parametrize(
    "answer",
    [
        "It is not B, the answer is D",
        "not B",
        "B is wrong",
        "B is not correct",
        "B isn't right",
        "B cannot be right",
        "B? No, C",
        "B, no wait, C",
        "B. No, that is wrong",
        "B.\nActually, the answer is C",
        "B, but C is also possible",
        "B because A is wrong",
        "B. Oslo",
        "B: Paris; C: Oslo",
        "B and C",
        "Either B or C",
        "Both A and B",
        "A, B and C",
        "AB",
        "A cat sat",
        "Aardvark",
        "I am not sure",
        "I don't know",
        "None of the above",
        "Rome or Paris",
        "I considered (A), but D",
    ],
)
def test_no_option_is_chosen_where_two_are_named_or_one_is_taken_back(answer: str) -> None:
    assert read_choice(answer, PLAIN) is None


def test_words_that_look_like_letters_choose_nothing_among_many_options() -> None:
    ten = [f"number {word}" for word in "one two three four five six seven eight nine ten".split()]
    assert read_choice("I don't know", ten) is None
    assert read_choice("A dog", ten) is None
    assert read_choice("I", ten) == "I"
    assert read_choice("None of the above", [*PLAIN, "None of the above"]) == "F"


def test_a_label_comes_before_a_text_that_is_a_letter() -> None:
    assert read_choice("B", ["C", "A", "B"]) == "B"


def test_the_gold_answer_is_a_letter_or_a_text() -> None:
    assert check_choice("B", CITIES, "Paris") == check_choice("Paris", CITIES, "(B)") == "ok"
    assert check_choice("B", CITIES, "C") == "wrong_choice"
    assert check_choice("B", CITIES, "perhaps") == "unreadable_choice"
    assert check_choice("Z", CITIES, "B") == "broken_gold"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("Paris, because the Seine runs through it", "B"),
        ("Paris\n\nExplanation: it lies on the Seine.", "B"),
        ("Answer\nB", "B"),
        ("The letter is B", "B"),
        ("【B】", "B"),
        ("✅ B", "B"),
        ("B…", "B"),
        ("因此，答案是B。", "B"),
        ("答えはB", "B"),
        ("Réponse : B", "B"),
        ("La respuesta correcta es B.", "B"),
        ("Die Antwort ist B.", "B"),
        ("Ответ: B", "B"),
        ("Paris or Oslo", None),
        ("Paris is wrong", None),
        ("Paris. Actually Rome.", None),
        ("Parisian", None),
    ],
)
def test_an_option_in_other_words_and_languages(answer: str, letter: str | None) -> None:
    assert read_choice(answer, ["Rome", "Paris", "Oslo", "Bern"]) == letter


def test_options_that_bear_their_letters_are_read_as_those_without() -> None:
    choices = ["(A) Rome", "(B) Paris"]
    assert [read_choice(text, choices) for text in ("Paris", "(B) Paris", "B", "(A) Paris")] == ["B", "B", "B", None]


def test_a_letter_with_the_formula_of_another_option_chooses_none() -> None:
    choices = [r"\frac{1}{2}", r"\frac{1}{3}"]
    assert read_choice(r"B. \frac{1}{2}", choices) is None
    assert read_choice(r"(B) \frac13", choices) == "B"


@pytest.mark.parametrize("piece", ["B", "(", "(B) ", "the answer is ", "\\boxed{", " "])
def test_a_hostile_answer_is_read_at_once(piece: str) -> None:
    start = time.process_time()
    read_choice(piece * 300, CITIES)
    read_choice(piece * 100_000, CITIES)
    assert time.process_time() - start < 1


def test_the_judge_reads_choices_from_meta() -> None:
    meta = {"check": "multiple_choice", "choices": CITIES}
    problem = Problem(problem_id="p", domain="knowledge", source="t", statement="-", answer_gold="B", meta=meta)
    assert judge(problem, ["It is on the Seine."], "(B) Paris").is_valid
    assert judge(problem, ["It is on the Tiber."], "A").reason == "wrong_choice"
    assert judge(problem.model_copy(update={"meta": {"check": "multiple_choice"}}), ["-"], "A").reason == "broken_check"
