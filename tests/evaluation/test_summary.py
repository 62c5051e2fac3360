from collections.abc import Callable
from dataclasses import replace

import pytest

from rjepa.evaluation.evaluating import calibrate, evaluate
from rjepa.evaluation.pool import CandidatePool
from rjepa.evaluation.results import EvaluationResult
from rjepa.evaluation.summary import accuracy_table, cost_table, domain_table, short_table, warn_if_few
from rjepa.text_tables import render

Pools = Callable[..., CandidatePool]


@pytest.fixture(scope="module")
def result(pools: Pools) -> EvaluationResult:
    return evaluate(pools(120, seed=2), calibrate(pools(150, split="validation", seed=1)), resamples=50)


def test_the_short_table_has_at_most_twelve_lines_with_what_matters_in_it(result: EvaluationResult) -> None:
    lines = render(short_table(result.leaderboard)).splitlines()
    assert len(lines) <= 12
    labels = [line[2:40].strip() for line in lines[2:]]
    assert (labels[0], labels[1], labels[3]) == ("One sample (mean@1)", "Majority", "R-JEPA")
    assert labels[5] == "Oracle (pass@K)"
    assert lines[6].startswith("* R-JEPA + log-probability, as served")
    rows = [row for row in result.leaderboard.domain("all") if row.group not in ("rjepa", "ceiling")]
    best = max(rows[2:], key=lambda row: row.accuracy if row.method != "majority" else -1.0)
    assert f"{100 * best.accuracy:.1f}" in lines[4]


def test_each_way_of_choosing_shows_what_it_costs_in_tokens(result: EvaluationResult) -> None:
    lines = render(short_table(result.leaderboard)).splitlines()
    tokens = [int(line.split()[-1]) for line in lines[2:]]
    assert tokens[1] == pytest.approx(8 * tokens[0], rel=0.05)
    table = render(cost_table(result)).splitlines()
    assert [line.split()[0] for line in table[2:]] == ["1", "2", "4", "8"]
    spent = [int(line.split()[1]) for line in table[2:]]
    assert spent == sorted(spent) and spent[3] == tokens[1]


def test_names_that_others_wrote_can_neither_break_a_table_nor_reach_the_terminal(pools: Pools) -> None:
    pool = pools(12, 2, seed=9)
    odd = replace(pool, problems=[p.model_copy(update={"domain": "[red]a\n\x1b[2Jb\x07"}) for p in pool.problems])
    board = evaluate(odd, calibrate(pools(150, split="validation", seed=1)), resamples=10).leaderboard
    for table in (accuracy_table(board), short_table(board), domain_table(board, board.domains[-1])):
        text = render(table)
        assert "\x1b" not in text and "\x07" not in text
    assert "[red]a" in render(short_table(board)).splitlines()[0]
    assert len(render(short_table(board)).splitlines()) == 8


def test_fewer_than_thirty_problems_are_warned_of() -> None:
    assert warn_if_few(30, "mine") is None
    assert "only 2 problems of mine" in (warn_if_few(2, "mine") or "")
