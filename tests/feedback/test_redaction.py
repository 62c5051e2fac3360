"""What is taken out of a text before it is kept, and what a problem's numbers are not mistaken for."""

import time

import pytest

from rjepa.feedback.redaction import redact


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("bob.smith+shop@mail.example.co.uk", "email"),
        ("zoé@exemple.fr", "email"),
        ("+33 6 12 34 56 78", "phone"),
        ("+14155552671", "phone"),
        ("(415) 555-2671", "phone"),
        ("06 12 34 56 78", "phone"),
        ("+1-545-880-7302", "phone"),  # of no area that was handed out
        ("4111 1111 1111 1111", "card"),
        ("4111111111111111", "card"),
        ("FR76 3000 6000 0112 3456 7890 189", "iban"),
        ("DE89370400440532013000", "iban"),
        ("536-90-4399", "national_id"),
        ("192.168.1.20", "address"),
        ("2001:db8::8a2e:370:7334", "address"),
        ("https://example.org/reset?token=abc", "link"),
        ("rjepa_0123456789ab_" + "a" * 43, "secret"),
        ("sk-proj-abcdefghijklmnopqrstuvwxyz", "secret"),
    ],
)
def test_what_has_the_form_of_personal_data_is_taken_out(text: str, kind: str) -> None:
    found = redact(f"Ask me at {text}, please.")
    assert found.text == f"Ask me at <{kind.upper()}>, please."
    assert found.found == {kind: 1}
    assert redact(found.text).found == {}


@pytest.mark.parametrize(
    "text",
    [
        "Mia has 14 + 5 = 19 pens and Tom has 19 - 2 = 17.",
        "Compute 4155552671 - 3, then 12345678 * 90.",
        "18 000 000 + 1,234,567.89 = 19234567.89",
        "The ratio is 3:4:5, or 1::2; the train leaves at 12:30:45 on 2024-05-06.",
        "555-123-4567 = -4135",
        "x = 1234567890123456 has no check digit",
    ],
)
def test_the_numbers_of_a_problem_stay(text: str) -> None:
    assert redact(text).text == text


def test_names_are_not_caught_as_the_pages_say() -> None:
    assert redact("Jean Dupont lives at 12 rue des Lilas.").found == {}


@pytest.mark.parametrize("piece", ["a@", "1 ", "12-", "1.1.1.1.", "AB12 ABCD ", "ab:", "www."])
def test_no_text_takes_long_to_look_through(piece: str) -> None:
    begun = time.process_time()
    redact((piece * 25_000)[:50_000])
    assert time.process_time() - begun < 60, "seconds; some patterns take hours on such texts"
