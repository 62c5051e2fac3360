import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rjepa.validation.equations import first_wrong_equation, has_wrong_equation

RIGHT = [
    "Mia has 14 + 5 = 19",
    "total: 135 clam / 15 clam/minute = 9 minutes",
    "James spends 7 board games * $10 = $70 on board games.",
    "5 packs of trading cards * $10 = $50 on trading cards",
    "80% of the class are swimmers so that's 0.8*100 = 80 students",
    "80+17 = 97 students and 3 - 2 = 1 teacher",
    "There are 50 girls x 2 boys/girl = 100 boys",
    "The width is 3071 / 37 = 83 and the perimeter is 2(83+37) = 240",
    "50.0% - 25% = 25%.",
    "330 puppies / 1650 puppies * 100% = 20%",
    "14÷1/2=28 minutes",
    "10 / 3 = 3.33",
    "20 / 3 = 6.66",
    "0.333 * 300 = 100",
    "14.500000000000002 - 12 = 2.5000000000000018 hours",
    "0.1 + 0.2 = 0.30000000000000004",
    "100 - 99.9 = 0.09999999999999432",
    "14.25 - 4 - 11/12 = 9.333333333333334",
    "14.25 - 4 - 11/12 = 9.33333333333333",
    "100000 / 3 = 33333.333333333336",
    "12345.1 * 3 = 37035.299999999996",
    "1000000 * 0.1 = 100000.00000000001",
    "9007199254740992 + 1 = 9007199254740993",
    "k = 88 // 3 = 29",
    "h = 88 - -5 = 93",
    "99 years - 100 years = -1 years",
    "The price is $300,000 + $9,000 = $309,000.",
    "3 * (2 + 4) = 18",
    "40% of 50 = 20",
    "- 5 + 3 = 8",
    "It is about 10 / 3 = 3 each",
    "3² + 4² = 25",
    "5² - 5 = 20",
    "2^10 - 1 = 1023",
    "-2^2 = -4",
    "(1/2)^2 = 1/4",
    "3.14 * 5^2 = 78.5",
    "1000(1.05)^{2} = 1102.50",
    "\\frac{1}{2} + \\frac{1}{3} = \\frac{5}{6}",
    "6 \\div \\frac{1}{2} = 12",
    "**7 * 8 = 56**",
    "7*8=56\n56+1=57",
    "3 + 4 = 7\n- 2 + 5 = 7",
    "x &= 3 + 4 \\\\ &= 7",
    "1.500 + 500 = 2.000",
    "1.500 + 1 = 1.501",
    "٣ + ٤ = ٧",
]

WRONG = [
    "Mia has 14 + 5 = 20",
    "total: 135 clam / 15 clam/minute = 8 minutes",
    "James spends 7 board games * $10 = $71 on board games.",
    "There are 50 girls x 2 boys/girl = 101 boys",
    "80+17 = 97 students and 3 - 2 = 2 teachers",
    "70 + 44 = 114 = 115",
    "She needs 99 / 22 = 4 trays",
    "2(83+37) = 230",
    "10 / 3 = 3.34",
    "14.25 - 4 - 11/12 = 9.333333333343334",
    "14.25 - 4 - 11/12 = 9.33333333333335",
    "5 * 0.1 = 0.5000000000001",
    "100000 / 3 = 33333.3333333335",
    "3 × 4 = 13 and that is all",
    "50% * 50% = 30%",
    "x = 3 + 4 = 8",
    "40% of 50 = 21",
    "2 hours * 60 minutes/hour = 130 minutes",
    "3² + 4² = 26",
    "2^3 = 6",
    "10^{3} = 100",
    "\\frac{12}{4} = 4",
    "\\frac{1}{2}+\\frac{1}{3}=\\frac{2}{5}",
    "**7 * 8 = 54**",
    "7 ⋅ 8 = 54",
    "7*8=54\n54+1=55",
    "3 + 4 = 7\n2 + 5 = 8",
    "3 \\times 4 = 13 \\\\ 13 + 1 = 14",
    "1.500 + 1 = 3.501",
    "٣ + ٤ = ٨",
]

UNREADABLE = [
    "2x + 100 = 184",
    "70 + 44 + T = 136 + T = 156",
    "5 dozen + 3 = 63",
    "2 million + 1 = 2000001",
    "5^2 + 1 = 26",
    "2**3 = 8",
    "3:30 + 0:30 = 4:00",
    "3 feet + 6 inches = 42 inches",
    "90 + 90 minutes = 3 hours",
    "$1 + 50 cents = $1.50",
    "200 + 10% = 220",
    "half of 30 + 2 = 17",
    "twice 5 + 3 = 13",
    "Day 5 = Friday",
    "at age 5 = 11 - 6",
    "5! + 1 = 121",
    "17 % 5 = 2",
    "17 / 5 = 3 remainder 2",
    "a = b == 3 + 4 = 9 != 2",
    "6 / 1/2 = 12",
    "5 / 0 = 7",
    "3 1/2 + 1 = 4.5",
    "1\\frac{1}{2} + 1 = 2.5",
    "1 \\frac{1}{2} + 1 = 2.5",
    "sqrt(9 + 16) = 5",
    "abs(3 - 5) = 2",
    "f(2 + 1) = 4",
    "log2(8) = 3",
    "x1 + 2 = 5",
    "2^3^2 = 512",
    "2^0.5 = 1.414",
    "10^-3 = 0.001",
    "5 cm² + 3 cm² = 8 cm²",
    "3 + 4 = 2 (mod 5)",
    "11 + 3 = 2 o'clock",
    "101 + 11 = 1000 in binary",
    "0x10 + 1 = 0x11",
    "5e3 + 1 = 5001",
    "1.000,5 + 1 = 1.001,5",
    "3 + 4 = 7\n+ 5 = 12",
    "9^9^9 = 1",
    "2^99999999999 = 1",
    "= = 4 +",
    "",
]


STATED = [
    "So 7 * 8 = 54.",
    "If each box holds 7, 8 boxes hold 7 * 8 = 54.",
    "Not everyone came, so 20 - 5 = 14 came.",
    "There are no pears: 3 + 4 = 8 apples.",
    "Tom eats 3 + 4 = 8 apples. No pears are left.",
    "The total is 3 + 4 = 8, not counting the pears.",
    "Is it raining? 7 * 8 = 54.",
    "We check the sum: 7 * 8 = 54.",
    "2147483647 + 1 = 2147483647",
    "1000000000 + 1 = 1000000000",
    "9007199254740992 + 1 = 9007199254740992",
    "12345678901234567890 + 1 = 12345678901234567890",
    "1,000,000,000 * 3 = 3,000,000,001",
    "1000000000.001 + 1 = 1000000003.001",
    "80+50=$<<80+50=140>>140",
    "It is <<3+4=8>>8",
]

NOT_STATED = [
    "Is 7 * 8 = 54? No, 7 * 8 = 56.",
    "Does 7 * 8 = 54?",
    "Could it be that 7 * 8 = 54?",
    "Let me check whether 7 * 8 = 54",
    "Wait, 7 * 8 = 54 is wrong: 7 * 8 = 56.",
    "7 * 8 = 54 (not this)",
    "It is not true that 7 * 8 = 54.",
    "7 * 8 = 54. Wait, that is wrong. 7 * 8 = 56.",
    "So 7 * 8 = 54. Oops, 7 * 8 = 56.",
    "7 * 8 = 54\nThis is not correct.",
    "7 * 8 = 54; that is wrong.",
    "7 * 8 = 54... no, that's not right",
    "At first I had 3 + 4 = 8, but that is not right.",
    "I first wrote 7 * 8 = 54 by mistake",
    "Tom claims that 7 * 8 = 54, but 7 * 8 = 56.",
    "Instead of 7 * 8 = 54 we need 7 * 8 = 56",
    "One might think 7*8=54.",
    "If 3 + 4 = 8, then 8 - 4 = 3, a contradiction.",
    "Suppose 3 + 4 = 8. Then 8 - 4 = 3.",
    "Assume 3 + 4 = 8, which is impossible.",
    "~~7 * 8 = 54~~ 7 * 8 = 56",
    "7 * 8 = 54 ❌",
    "80,000*1.5=<<80000*1.5=120000>>120,000",
    "80,000+50,000=$<<80000+50000=130000>>130,000",
    "3{,}000 + 1 = 3{,}001",
]


@pytest.mark.parametrize("step", STATED)
def test_a_wrong_equation_that_is_stated_is_found_however_large(step: str) -> None:
    assert has_wrong_equation(step)


@pytest.mark.parametrize("step", NOT_STATED)
def test_an_equation_that_is_asked_supposed_reported_or_taken_back_is_not_held_against_a_step(step: str) -> None:
    assert not has_wrong_equation(step)


@pytest.mark.parametrize("step", RIGHT)
def test_a_right_equation_is_not_called_wrong(step: str) -> None:
    assert not has_wrong_equation(step)


@pytest.mark.parametrize("step", WRONG)
def test_a_wrong_equation_is_found(step: str) -> None:
    assert has_wrong_equation(step)


@pytest.mark.parametrize("step", UNREADABLE)
def test_what_cannot_surely_be_read_is_not_called_wrong(step: str) -> None:
    assert not has_wrong_equation(step)


def test_the_first_wrong_step_is_named() -> None:
    assert first_wrong_equation(["3 + 4 = 7", "no numbers", "7 * 2 = 15", "1 + 1 = 3"]) == 2
    assert first_wrong_equation(["3 + 4 = 7"]) is None
    assert first_wrong_equation([]) is None


@given(st.integers(0, 9999), st.integers(1, 9999), st.sampled_from("+-*"), st.integers(-3, 3))
def test_whole_number_equations_are_judged_exactly(a: int, b: int, op: str, slip: int) -> None:
    result = {"+": a + b, "-": a - b, "*": a * b}[op]
    assert has_wrong_equation(f"So Mia has {a} {op} {b} = {result + slip} apples left.") is (slip != 0)


@given(st.text(alphabet="0123456789+-*/×÷=()%$., xXaofhalf\n", max_size=200))
def test_any_text_is_judged_without_an_error(step: str) -> None:
    has_wrong_equation(step)


@pytest.mark.parametrize("piece", ["1+1=", "(", "1+", "=", "9", "1,", "1 x ", "1/", "a ", "-", "1*9999999999*"])
def test_a_hostile_step_is_judged_at_once(piece: str) -> None:
    start = time.process_time()
    has_wrong_equation(piece * 50_000 + "=1")
    has_wrong_equation(piece * 60 + "1=1")
    assert time.process_time() - start < 2
