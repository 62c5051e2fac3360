"""Labels of steps and lines of answers as LLMs really write them."""

import pytest

from rjepa.chains import parse_chain, read_segments, render_chain, segment_spans

LABELS = [
    "Step {}: ",
    "**Step {}:** ",
    "**Step {}**: ",
    "**Step {}.** ",
    "**Step {}** ",
    "__Step {}:__ ",
    "*Step {}:* ",
    "***Step {}:*** ",
    "_Step {}_: ",
    "### Step {}: ",
    "## Step {}. ",
    "#### **Step {}:** ",
    "# Step {}\n",
    "### Step {}\n",
    "### Step {} ",
    "**Step {}**\n",
    "Step {}\n",
    "Step {}. ",
    "Step {}) ",
    "Step {} - ",
    "Step {} \u2013 ",
    "Step {} \u2014 ",
    "Step {} : ",
    "Step {}\uff1a",
    "step {}: ",
    "STEP {}: ",
    "- Step {}: ",
    "* **Step {}:** ",
    "{}. **Step {}:** ",
    "> Step {}: ",
    "[Step {}] ",
    "(Step {}) ",
    "Step #{}: ",
    "Step {} of 2: ",
    "Step {}/2: ",
    "Step\u00a0{}: ",
    "### {}. ",
    "({}) ",
    "**Step {} (a sum):** ",
    "\\textbf{{Step {}:}} ",
    "<b>Step {}:</b> ",
    "{}. ",
    "{}) ",
    "**{}.** ",
    "🔹 **Step {}:** ",
    "➡️ Step {}: ",
    "`Step {}:` ",
    "Step-{}: ",
    "Step_{}: ",
    "Step {} -> ",
    "步骤{}：",
    "第{}步：",
    "Schritt {}: ",
    "Étape {} : ",
    "Paso {}: ",
    "Шаг {}: ",
]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("end", ["\n", "\n\n", "\r\n"])
def test_a_step_label_is_found_in_every_dress(label: str, end: str) -> None:
    steps = ["3 + 4 = 7", "7 * 2 = 14"]
    lines = [label.format(number, number) + step for number, step in enumerate(steps, 1)]
    parsed = parse_chain(end.join([*lines, "Answer: 14"]) + end)
    assert (parsed.steps, parsed.final_answer) == (steps, "14")


def test_bold_that_ends_after_a_steps_title_leaves_no_marks() -> None:
    text = "**Step 1: Add the pens**\n3 + 4 = 7\n\n**Step 2: Double**\n7 * 2 = **14**\nAnswer: 14\n"
    assert parse_chain(text).steps == ["Add the pens\n3 + 4 = 7", "Double\n7 * 2 = **14**"]


def test_bold_within_a_plain_step_stays() -> None:
    steps = ["**3 + 4** = 7", "* 2 gives **14**", "#1 is 14"]
    assert parse_chain(render_chain(steps, "14")).steps == steps


@pytest.mark.parametrize(
    "line",
    [
        "Step 1 gives 7, so we go on.",
        "Steps 1: both",
        "Step by step: we add",
        "Stepwise 1: we add",
        "From step 1: seven",
        "Step 1 (the sum) gave 7",
        "1. only one item",
        "2024. was the year\n2025. is the next",
    ],
)
def test_prose_about_steps_is_no_label(line: str) -> None:
    assert len(parse_chain(line + "\nAnswer: 14\n").steps) == 1


def test_comments_in_a_code_block_are_no_steps() -> None:
    code = "```python\n# Step 1: sort\nwords.sort()\n# Step 2: return\nreturn words\n```"
    assert len(parse_chain(f"Step 1: Sort and return.\nStep 2: In Python:\n{code}\n").steps) == 2


def test_a_list_within_a_labelled_step_begins_no_step() -> None:
    text = "Step 1: We know\n1. three pens\n2. four pens\nStep 2: 3 + 4 = 7\nAnswer: 7\n"
    assert len(parse_chain(text).steps) == 2


def test_labels_of_a_draft_do_not_count_where_others_follow() -> None:
    text = "<think>\nStep 1: perhaps 3 * 4?\nAnswer: 12\n</think>\nStep 1: 3 + 4 = 7\nAnswer: 7\n"
    assert parse_chain(text) == parse_chain("Step 1: 3 + 4 = 7\nAnswer: 7\n")


ANSWERS = [
    "Answer: 14",
    "**Answer:** 14",
    "**Answer: 14**",
    "**Answer**: 14",
    "__Answer:__ 14",
    "*Answer:* 14",
    "answer: 14",
    "ANSWER: 14",
    "Answer : 14",
    "Answer\uff1a14",
    "Answer = 14",
    "Answer - 14",
    "Answer 14",
    "Answer is 14",
    "Answers: 14",
    "### Answer: 14",
    "## Final Answer: 14",
    "### Answer\n14",
    "### Final Answer\n\n**14**",
    "**Final Answer**\n14",
    "Answer:\n14",
    "- Answer: 14",
    "> Answer: 14",
    "3. **Answer:** 14",
    "Final answer 14",
    "Final answer: 14",
    "Final Answer: 14.",
    "**Final answer:** 14",
    "My answer: 14",
    "Correct answer: 14",
    "The answer: 14",
    "The answer is 14.",
    "The answer is: 14",
    "The answer is **14**.",
    "**The answer is 14.**",
    "The final answer is 14",
    "The correct answer is 14.",
    "The answer to the question is 14.",
    "So the answer is 14.",
    "So, the answer is 14.",
    "Therefore, the final answer is 14.",
    "Thus the answer is: 14",
    "Hence, answer: 14",
    "In conclusion, the answer is 14.",
    "The answer would be 14.",
    "#### 14",
    "<answer>14</answer>",
    "Ans: 14",
    "Ans. = 14",
    "Answer:\n* 14",
    "<answer>\n14\n</answer>",
    "\\textbf{Answer:} 14",
    "<b>Answer:</b> 14",
    "__Answer__: 14",
    "`Answer: 14`",
    "✅ **Final Answer: 14**",
    "👉 Answer: 14",
    "Answer -> 14",
    "Answer → 14",
    "<final_answer>14</final_answer>",
    "答案：14",
    "最终答案是14",
    "정답: 14",
    "Antwort: 14",
    "Réponse : 14",
    "Respuesta: 14",
    "Ответ: 14",
]


@pytest.mark.parametrize("line", ANSWERS)
def test_an_answer_line_is_found_in_every_dress(line: str) -> None:
    text = f"Step 1: 3 + 4 = 7\nStep 2: 7 * 2 = 14\n{line}\n"
    parsed = parse_chain(text)
    assert parsed == parse_chain("Step 1: 3 + 4 = 7\nStep 2: 7 * 2 = 14\nAnswer: 14\n")
    spans = segment_spans(text)
    assert len(spans) == 3, "the answer is a segment of its own"
    assert "".join(text[start:end] for start, end in spans) == text


@pytest.mark.parametrize(
    "line",
    [
        "The final answer is: $\\boxed{14}$",
        "Answer: \\boxed{14}",
        "**Answer:** \\( \\boxed{14} \\)",
        "Final Answer: The final answer is $\\boxed{14}$. I hope it is correct.",
        "$\\boxed{14}$",
        "\\[ \\boxed{14} \\]",
        "\\[\n\\boxed{14}\n\\]",
        "$$\n\\boxed{14}\n$$",
        "**Final Answer**\n\\[\n\\boxed{14}\n\\]",
        "So there are $\\boxed{14}$ .",
        "**Total: $\\boxed{14}$**",
        "#### \\boxed{14}",
        "\\fbox{14}",
    ],
)
def test_a_boxed_answer_is_found(line: str) -> None:
    parsed = parse_chain(f"Step 1: 3 + 4 = 7\nStep 2: 7 * 2 = 14\n{line}\n")
    assert parsed.steps == ["3 + 4 = 7", "7 * 2 = 14"]
    assert parsed.final_answer is not None
    assert "box" in parsed.final_answer
    assert "{14}" in parsed.final_answer


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("The answer is yes.", "yes"),
        ("The answer is no.", "no"),
        ("The answer is Paris.", "Paris"),
        ("The answer is (B).", "(B)"),
        ("The correct option is C", "C"),
        ("The answer is A) a cat", "A) a cat"),
        ("Answer: There are 14 pens.", "There are 14 pens"),
        ("Answer: she has 7 pens left", "she has 7 pens left"),
        ("Answer: Alice is a knight, and Bob is a knave", "Alice is a knight, and Bob is a knave"),
        ("The answer is about 14.", "about 14"),
        ("The answer is 12 because 7 + 5 = 12", "12 because 7 + 5 = 12"),
        ("Answer: **14**", "**14**"),
        ("Answer: -3", "-3"),
        ("Answer: - 3", "- 3"),
        ("The answer is -3.", "-3"),
        ("Answer: x = 3", "x = 3"),
        ("Answer: I", "I"),
        ("Answer: not p", "not p"),
        ("Answer: unknown", "unknown"),
        ("Answer: `14`", "`14`"),
        ("**Answer:** `14`", "14"),
        ("#### 1,234", "1,234"),
        ("#### $14", "$14"),
        ("#### 14 pens", "14 pens"),
    ],
)
def test_an_answer_in_words_or_with_words_is_an_answer(line: str, answer: str) -> None:
    assert parse_chain(f"Step 1: we look\n{line}\n").final_answer == answer
    assert parse_chain(line + "\n").final_answer == answer, "a line is read as it will be in its chain"


@pytest.mark.parametrize(
    "line",
    [
        "Answers must be whole numbers.",
        "Answering this takes two sums.",
        "Answer the question in steps.",
        "Answer carefully.",
        "Answered: yes, before",
        "The answer is not clear yet.",
        "The answer is not 12.",
        "The answer is obvious.",
        "The answer is probably 12.",
        "The answer is less than 20.",
        "The answer is between 3 and 20.",
        "The answer is a whole number.",
        "The answer is the sum of both.",
        "The answer is what we look for.",
        "The answer isn't 12.",
        "The answer is now easy to see.",
        "The answer should be a whole number.",
        "The answer depends on the price.",
        "The answer can be found by adding.",
        "The answers are below.",
        "Answer seems to be 12, but let me check.",
        "Answer: 12, but let me check.",
        "Answer: 12?",
        "Answer: this asks for two sums.",
        "Answer: let me think.",
        "Answer: we need to add first.",
        "Answer: I think I must add first.",
        "Answer: To find the total, we add.",
        "**Answer:** Let's add the numbers.",
        "Final answer: wait, I forgot the pens.",
        "The answer is 12, wait, no.",
        "The answer is 3 more than 4.",
        "The answer is 2 times the sum.",
        "The answer is 12? No, that is too small.",
        "Answer (A) is wrong because it leaves a remainder.",
        "Answer: B is not possible.",
        "Answer 1: 12",
        "Answer so far: 12",
        "Answer key: see below",
        "Answer:\n- 12",
        "Partial answer: 12",
        "So the answer is not yet known.",
        "The final answer format is a number.",
        "#### Solution",
        "#### 1. Add the numbers",
        "A box: \\boxed{12} is drawn around it.",
    ],
)
def test_a_line_that_only_begins_like_an_answer_is_none(line: str) -> None:
    assert parse_chain(line + "\n").final_answer is None
    assert parse_chain(f"{line}\n\nSo 7 * 2 = 14.\nAnswer: 14\n", "paragraph").steps[0] == line
    assert parse_chain(f"{line}\nSo 7 * 2 = 14.\nAnswer: 14\n", "paragraph").final_answer == "14"


@pytest.mark.parametrize(
    "draft",
    [
        "<think>\nAnswer: 12\n</think>\n",
        "<think>The answer is 12.\n</think>\n",
        "<thinking>\n\\boxed{12}\n</thinking>\n",
        "<reasoning>\nAnswer: 12\n</reasoning>\n",
        "[THINK]\nAnswer: 12\n[/THINK]\n",
        "<think>```\nAnswer: 12\n```</think>\n",
        "<think>\nAnswer: `12`</think>\n",
        "<seed:think>\nAnswer: 12\n</seed:think>\n",
        "◁think▷\nAnswer: 12\n◁/think▷\n",
        "<|begin_of_thought|>\nAnswer: 12\n<|end_of_thought|>\n",
        "<|channel|>analysis<|message|>\nAnswer: 12\n<|end|><|start|>assistant<|channel|>final<|message|>\n",
        "Perhaps\nAnswer: 12\nNo.\n</think>\n",
        "<think>\nAnswer: 11\n</think>\n<think>\nAnswer: 12\n</think>\n",
    ],
)
def test_an_answer_in_a_draft_is_none(draft: str) -> None:
    assert parse_chain(draft + "So 7 * 2 = 14.\nAnswer: 14\n", "paragraph").final_answer == "14"


def test_a_draft_that_does_not_end_has_no_answer() -> None:
    assert parse_chain("<think>\n3 + 4 = 7\nAnswer: 7\nBut", "paragraph").final_answer is None
    for draft in ("<think>So\nAnswer: 12", "<think>Step 1: 3\nStep 2: 4\nAnswer: 12", "So.\nAnswer: 12\n</think>"):
        assert parse_chain(draft).final_answer is None


def test_an_answer_that_is_cut_off_is_a_segment_without_an_answer() -> None:
    for line in ("Answer:", "Answer", "**Answer:**", "The answer is"):
        segments = read_segments(f"Step 1: 3 + 4 = 7\n{line}")
        assert [segment.is_answer for segment in segments] == [False, True]
        assert parse_chain(f"Step 1: 3 + 4 = 7\n{line}").final_answer is None


def test_a_heading_before_the_reasoning_is_no_answer() -> None:
    text = "Answer:\nFirst we add 3 and 4, which makes 7.\nThen we double it.\nAnswer: 14\n"
    assert parse_chain(text, "paragraph").final_answer == "14"
    assert parse_chain(text, "paragraph").steps[0].startswith("Answer:\nFirst")


def test_code_below_the_answer_is_the_answer() -> None:
    code = "```python\ndef double(n):\n    return 2 * n\n```"
    assert parse_chain(f"Step 1: Multiply by two.\n**Answer:**\n{code}\n").final_answer == code


@pytest.mark.parametrize(
    ("last", "answer"),
    [
        ("Step 2: 7 * 2 = 14. The answer is 14.", "14"),
        ("Step 2: The final answer is 14.", "14"),
        ("Step 2: 7 * 2 = $\\boxed{14}$.", "\\boxed{14}"),
        ("Step 2: 7 * 2 = 14, so the answer is 14.", "14"),
        ("Step 2: So the answer is not clear.", None),
        ("Step 2: If we forget this, the answer is 14.", None),
        ("Step 2: 7 * 2 = 14", None),
    ],
)
def test_the_last_step_may_name_the_answer(last: str, answer: str | None) -> None:
    parsed = parse_chain(f"Step 1: 3 + 4 = 7\n{last}\n")
    assert (len(parsed.steps), parsed.final_answer) == (2, answer)


def test_a_single_labelled_step_does_not_end_its_chain() -> None:
    assert parse_chain("Step 1: 3 + 4 = $\\boxed{7}$.\n").final_answer is None


def test_a_labelled_answer_goes_before_boxes_and_the_last_box_before_others() -> None:
    assert parse_chain("We get $\\boxed{7}$.\nAnswer: 14\n", "paragraph").final_answer == "14"
    assert parse_chain("We get $\\boxed{7}$.\nThen $\\boxed{14}$.\n", "paragraph").final_answer == "\\boxed{14}"


def test_a_label_may_count_in_roman_numerals() -> None:
    assert parse_chain("Step I: 3 + 4 = 7\nStep II: 7 * 2 = 14\nAnswer: 14\n").steps == ["3 + 4 = 7", "7 * 2 = 14"]
