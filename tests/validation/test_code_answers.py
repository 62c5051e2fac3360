"""Programs as LLMs write them into an answer, and tests as data sets bring them."""

import pytest

from rjepa.validation.sandbox import Limits
from rjepa.validation.unit_tests import complete_solution, run_tests
from tests.validation.hostile import needs_sandbox

PROMPT = (
    "import math\nfrom typing import List\n\n\ndef helper(word: str) -> str:\n    return word.lower()\n\n\n"
    'def pick(words: List[str], prefix: str) -> List[str]:\n    """ Keep the words that begin with prefix.\n    """\n'
)
CHECK = "def check(candidate):\n    assert candidate(['Ab', 'cd'], 'a') == ['Ab']\n"
BODY = "return [word for word in words if helper(word).startswith(prefix)]"
TYPED = f"def pick(words: List[str], prefix: str) -> List[str]:\n    {BODY}\n"
ALONE = "def pick(words, prefix):\n    return [word for word in words if word.lower().startswith(prefix)]\n"
WRONG = "def pick(words, prefix):\n    return words\n"
STUB = 'def pick(words, prefix):\n    """ Keep some. """\n    ...\n'
ROW = "@dataclass\nclass Row:\n    "
LONG = Limits(wall_seconds=20.0, cpu_seconds=5)


def ends(answer: str, prompt: str = PROMPT, tests: str = CHECK, entry_point: str | None = "pick") -> str:
    return run_tests(complete_solution(answer, prompt, entry_point), tests, entry_point, LONG).reason


def fenced(code: str, info: str = "python") -> str:
    return f"```{info}\n{code.rstrip()}\n```\n"


@needs_sandbox
@pytest.mark.parametrize(
    "answer",
    [
        TYPED,
        fenced(TYPED),
        fenced(f"    {BODY}"),
        fenced("from __future__ import annotations\n\n" + TYPED),
        fenced('"""A module."""\nfrom __future__ import annotations\n' + TYPED),
        fenced("import math\nfrom typing import List\n" + TYPED),
        fenced(
            TYPED.replace("helper(word)", "word[:math.inf and 9].lower()").replace(
                "math.inf and 9", "int(math.sqrt(9))"
            )
        ),
    ],
)
def test_imports_and_helpers_of_the_prompt_are_part_of_the_program(answer: str) -> None:
    assert ends(answer) == "ok"
    assert ends(answer, f"Complete this Python function.\n\n{PROMPT}") == "ok"
    assert ends(answer, f"Complete this function:\n\n{fenced(PROMPT)}\nBe quick.") == "ok"


@needs_sandbox
def test_a_package_that_the_prompt_imports_and_the_sandbox_lacks_is_missed_only_where_it_is_used() -> None:
    prompt = "import numpy as np\n" + PROMPT
    assert ends(ALONE, prompt) == "ok"
    assert ends(ALONE.replace("word.lower()", "np.char.lower(word)"), prompt) == "raised"


@needs_sandbox
@pytest.mark.parametrize(
    "answer",
    [
        fenced(ALONE) + "Example:\n" + fenced("print(pick(['ab'], 'a'))"),
        fenced(ALONE) + "It prints:\n" + fenced("['ab']", ""),
        fenced(ALONE) + fenced(">>> pick(['ab'], 'a')\n['ab']"),
        fenced(ALONE) + "Run it:\n" + fenced("python pick.py", "bash"),
        fenced(ALONE) + "Tests:\n" + fenced("def test_pick():\n    assert pick([], 'a') == []"),
        fenced(ALONE) + "Its signature:\n" + fenced(STUB),
        fenced(WRONG) + "Better:\n" + fenced(ALONE),
        fenced(STUB) + "Filled in:\n" + fenced(ALONE),
        fenced(ALONE, ""),
        fenced(ALONE, "Python3"),
        fenced(ALONE, "py"),
        fenced(ALONE, 'python title="pick.py"'),
        fenced(ALONE, "{.python}"),
        fenced(ALONE).replace("```", "~~~~"),
        fenced(ALONE).replace("\n", "\r\n"),
        "```python\n" + ALONE,
        "```python\n" + ALONE.rstrip() + "```",
        "1. Write it:\n\n   " + fenced(ALONE).replace("\n", "\n   "),
        fenced("import re") + fenced(ALONE.replace("word.lower().startswith(prefix)", "re.match(prefix, word, re.I)")),
        fenced(f"def lower(word):\n    return word.lower()\n\n{WRONG}")
        + fenced(ALONE.replace("word.lower()", "lower(word)")),
        fenced(ALONE.replace("word.lower()", "lower(word)"))
        + fenced("SHIFT = 0\ndef lower(word):\n    return word[SHIFT:].lower()"),
        fenced(
            ALONE.replace(
                "    return", '    """Use it:\n\n    ```python\n    pick([], "")\n    ```\n    """\n    return'
            )
        ),
        fenced("pick = lambda words, prefix: [word for word in words if word.lower().startswith(prefix)]"),
        fenced(f"try:\n    import numpy\nexcept ImportError:\n    numpy = None\n{ALONE}"),
        f"<think>\n{fenced(WRONG)}</think>\n{fenced(ALONE)}",
        f"{fenced(WRONG)}</think>\n{fenced(ALONE)}",
        f"<think>{fenced(WRONG).rstrip()}</think>\n{fenced(ALONE)}",
        f"{ALONE}```",
        f"{ALONE}```\nFor example:\n{fenced('print(pick([], str()))')}",
        f"{fenced(ALONE)}<think>\nIs it right? {fenced(WRONG)}</think>\n{fenced(ALONE)}",
    ],
)
def test_the_block_that_solves_the_task_is_the_solution(answer: str) -> None:
    assert ends(answer) == "ok"


@needs_sandbox
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fenced(WRONG), "test_failed"),
        (fenced(ALONE) + "Wrong, better:\n" + fenced(WRONG), "test_failed"),
        (fenced(STUB), "test_failed"),
        ("I do not know.", "syntax_error"),
        (f"<think>\n{fenced(ALONE)}", "test_failed"),
        ("import sys\nsys.exit(0)\n" + ALONE, "ended_early"),
        ("exit()\n" + ALONE, "ended_early"),
        ("def pick(words, prefix):\n    quit()\n", "ended_early"),
        ("def pick(words, prefix):\n    raise SystemExit\n", "ended_early"),
        ("import os\ndef pick(words, prefix):\n    os._exit(0)\n", "ended_early"),
        ("def pick(words, prefix):\n    return pick(words, prefix)\n", "raised"),
        ("import time\ndef pick(words, prefix):\n    time.sleep(99)\n", "wall_limit"),
        ("def pick(words, prefix):\n    import numpy\n", "raised"),
        ("def pick(words, prefix):\n    return open('/no')\n", "raised"),
        ("name = input()\n" + ALONE, "raised"),
    ],
)
def test_an_answer_that_does_not_pass_says_why(answer: str, reason: str) -> None:
    limits = Limits(wall_seconds=3.0) if reason == "wall_limit" else LONG
    assert run_tests(complete_solution(answer, PROMPT, "pick"), CHECK, "pick", limits).reason == reason


@needs_sandbox
@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    "before",
    [
        f"from dataclasses import dataclass, field\n{ROW}more: list = field(default_factory=list)\n",
        f"from typing import ClassVar\nfrom dataclasses import dataclass\n{ROW}made: ClassVar[int] = 0\n",
        "from typing import NamedTuple\nclass Row(NamedTuple):\n    word: str\n",
        "import typing\nclass Row:\n    word: int\nassert typing.get_type_hints(Row) == {'word': int}\n",
        "import pickle\nclass Row:\n    pass\npickle.loads(pickle.dumps(Row()))\n",
        "import enum\nclass Row(enum.Enum):\n    A = 1\nimport copy\ncopy.deepcopy(Row.A)\n",
    ],
)
def test_classes_find_the_module_that_they_are_of(future: str, before: str) -> None:
    assert ends(fenced(future + before + ALONE)) == "ok"


@needs_sandbox
@pytest.mark.parametrize(
    "tests",
    [
        "import numpy as np\n" + CHECK,
        "def check(candidate):\n    import numpy as np\n    assert np.allclose(candidate([], ''), [])\n",
        "from pytest import approx\nassert pick([], '') == approx([])\n",
        "assert np.all(pick([], '') == [])\n",
        "assert math.isclose(len(pick([], '')), 0)\n",
        "assert pik([], '') == []\n",
        "def check(candidate):\n    assert candidate([], '') == expected\n",
        "import collections\nassert isinstance(pick([], ''), collections.Sequence)\n",
        "words = open('words.txt').read()\nassert pick([words], '') == [words]\n",
        "assert pick([], '' == []\n",
        "def verify():\n    assert pick([], '') == []\n",
        "print(pick([], ''))\n",
        "# nothing\n",
        "expected = []\n",
        "def test_pick(words, prefix):\n    assert pick(words, prefix) == []\n",
    ],
)
def test_tests_that_cannot_run_are_the_problems_fault(tests: str) -> None:
    for solution in (ALONE, WRONG):
        assert ends(fenced(solution), "Write pick.", tests) == "broken_tests"


@needs_sandbox
@pytest.mark.parametrize("body", ["pass", "return", "print(candidate)", "x = 1"])
def test_a_check_that_checks_nothing_is_broken(body: str) -> None:
    assert run_tests(ALONE, f"def check(candidate):\n    {body}\n", "pick").reason == "broken_tests"


@needs_sandbox
def test_a_check_without_anything_to_be_called_with_is_broken() -> None:
    assert ends(fenced(ALONE), "Write it.", CHECK, None) == "broken_tests"


@needs_sandbox
@pytest.mark.parametrize(
    "tests",
    [
        CHECK,
        CHECK + "check(pick)\n",
        "assert pick(['Ab', 'cd'], 'a') == ['Ab']\n",
        "assert candidate(['Ab', 'cd'], 'a') == ['Ab']\n",
        "import math\nassert math.isclose(len(pick(['Ab', 'cd'], 'a')), 1)\n",
        "from solution import pick as chosen\nassert chosen(['Ab', 'cd'], 'a') == ['Ab']\n",
        "def test_pick():\n    assert pick(['Ab', 'cd'], 'a') == ['Ab']\n",
        "async def test_pick():\n    assert pick(['Ab', 'cd'], 'a') == ['Ab']\n",
        "def test(candidate):\n    assert candidate(['Ab', 'cd'], 'a') == ['Ab']\n",
        "class TestPick:\n    def test_it(self):\n        assert pick(['Ab', 'cd'], 'a') == ['Ab']\n",
        "import unittest\nclass Case(unittest.TestCase):\n    def test_it(self):\n"
        "        self.assertEqual(pick(['Ab', 'cd'], 'a'), ['Ab'])\nif __name__ == '__main__':\n    unittest.main()\n",
        "def verify():\n    assert pick(['Ab', 'cd'], 'a') == ['Ab']\nif __name__ == '__main__':\n    verify()\n",
        "def one():\n    assert pick(['Ab', 'cd'], 'a') == ['Ab']\nfor case in [one]:\n    case()\n",
        "if pick(['Ab', 'cd'], 'a') != ['Ab']:\n    raise AssertionError\n",
    ],
)
def test_checks_of_every_form_are_run(tests: str) -> None:
    assert ends(fenced(ALONE), "Write pick.", tests) == "ok"
    assert ends(fenced(WRONG), "Write pick.", tests) == "test_failed"


@needs_sandbox
def test_without_an_entry_point_a_function_that_is_not_there_is_the_solutions_fault() -> None:
    assert ends(fenced("def pack(): pass"), "Write pick.", "assert pick([], '') == []\n", None) == "raised"
    assert ends(fenced(ALONE) + fenced("print(1)"), "Write pick.", "assert pick([], '') == []\n", None) == "ok"
    assert ends(fenced(ALONE), "Write pick.", "assert np.size(pick([], '')) == 0\n", None) == "broken_tests"
