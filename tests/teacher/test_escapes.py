r"""Backslashes in JSON: what a teacher's text says is what its writer meant, or the reply is refused."""

import json
from typing import Any

import pytest

from rjepa.home import Home
from rjepa.teacher import JobPlan, run_job
from rjepa.teacher.escapes import EscapeError, as_meant

from .conftest import problems, teacher
from .scripted import Answer, Request, chain, completion

ONE = JobPlan(chains_per_problem=1)


def read(written: str) -> str:
    """What a string says that stands between the quotes of a reply."""
    value = json.loads(as_meant('{"a": "' + written + '"}'))["a"]
    assert isinstance(value, str)
    return value


@pytest.mark.parametrize(
    "text",
    [
        r"\frac{1}{2} \times 6 = 3",
        r"\beta + \bar{x} = \binom{4}{2}",
        r"\forall x: \floor{x}",
        r"x \neq 3",
        r"\nabla f = \not 0",
        r"\left( a \right)",
        r"\rho = \rangle",
        r"\theta = \text{half} \to \tan x",
        r"\underline{x} \cup \{1\}",
        r"\upsilon \sqrt{2} \alpha",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"x \ne 3 and \sqrt{2}",
        r"\nu = \frac{c}{2}",
        r"\( 3 + 4 = 7 \)",
        r"5\% of \$20",
        r"\quad \, \; \! x",
        r"\bigl( \begin{cases} 1 \\ 2 \end{cases}",
        r"\bfoo\b matches",
        r"\norm{x} = \sqrt{2}",
        r"\mathbb{R} \ni \tensor{T}",
    ],
)
def test_latex_with_single_backslashes_is_kept_as_written(text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "\\frac{1}{2} \\times 6",
        'first line\nthen\tthe next \u00e9 "quoted" a/b',
        "\\nu and\nu = 3",
        "\\neq, then\ne = 2",
        "def f(u):\n\tif u:\n\t\treturn '\\n'",
        "\\begin{matrix} 1 \\\\ 2 \\end{matrix}",
        "a\r\nb",
        "i = 0\nwhile i < 3:\n    i += 1\ni = 4",
        "C:\\new\\table",
        "one\n\ntwo\n- three",
        "int f(){\nif(x){\ntry{\n}}}",
        "smile \U0001f600",
        "ends with a backslash \\",
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_was_escaped_properly_is_read_properly(text: str, ascii_only: bool) -> None:
    written = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    assert read(written) == text


@pytest.mark.parametrize(
    "written",
    [
        r"\nu = 3",  # nu, or a new line and u
        r"2 \ne 3",
        r"\frac{1}{2} and \\frac{1}{2}",  # doubled here and not there
        r"\sqrt{2} \\sqrt{2}",
        r"\\nabla \sqrt{2} \nu",
        r"there\nexists one",
        r"\newthing{3} = 3",
        r"\tfoo{3}",
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(written: str) -> None:
    with pytest.raises(EscapeError, match="twice"):
        read(written)


def test_line_breaks_of_a_program_are_no_commands() -> None:
    assert read(r"x = 1\ni = 2\nleft = 3\nprint(i)") == "x = 1\ni = 2\nleft = 3\nprint(i)"


def test_line_breaks_and_tabs_that_stand_in_a_string_as_they_are_are_kept() -> None:
    assert read("one\n\ttwo\r\nthree") == "one\n\ttwo\r\nthree"


def test_an_apostrophe_escaped_as_python_does_is_an_apostrophe() -> None:
    assert read(r"it\'s 3") == "it's 3"


def test_evidence_is_taken_from_the_whole_reply() -> None:
    reply = r'{"steps": ["\sqrt{4} = 2", "x \ne 3"], "final_answer": "2"}'
    assert json.loads(as_meant(reply))["steps"][1] == r"x \ne 3"
    reply = r'{"steps": ["\\sqrt{4} = 2", "x\ne = 3"], "final_answer": "2"}'
    assert json.loads(as_meant(reply))["steps"][1] == "x\ne = 3"


def latex_teacher(asked: Request) -> Answer:
    if len(asked.body["messages"]) > 2:
        return chain(steps=[r"\nu = 7"])
    return Answer(completion(r'{"steps": ["so \nu = 7"], "final_answer": "7"}'))


def test_a_reply_that_can_be_read_in_two_ways_is_asked_for_again_with_the_reason(serve: Any, home: Home) -> None:
    server = serve(latex_teacher)
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert [one.steps for one in result.chains] == [[r"\nu = 7"]]
    assert r"the backslash of \nu can be read in two ways" in server.asked[1].prompt


def test_latex_of_a_real_reply_reaches_the_chain_whole(serve: Any, home: Home) -> None:
    raw = r'{"steps": ["\frac{6}{2} \times 2 = 6", "x \neq \beta, \rho \to \nabla"], "final_answer": "\frac{7}{1}"}'
    server = serve(lambda asked: Answer(completion(raw)))
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    (made,) = result.chains
    assert made.steps == [r"\frac{6}{2} \times 2 = 6", r"x \neq \beta, \rho \to \nabla"]
    assert made.final_answer == r"\frac{7}{1}" and len(server.asked) == 1


@pytest.mark.parametrize("control", ["\\u0008eta", "\\u000crac", "\\u001b[1m", "\\u0000", "\\u007f"])
def test_a_control_character_that_is_left_over_is_never_stored(serve: Any, home: Home, control: str) -> None:
    raw = f'{{"steps": ["{control} = 7"], "final_answer": "7"}}'
    server = serve(lambda asked: Answer(completion(raw)))
    result = run_job(home, "job", [teacher(server)], ONE, problems(1), budget_usd=5)
    assert not result.chains and {one.reason for one in result.failures} == {"wrong_schema"}
