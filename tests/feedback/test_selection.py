"""Which interactions are learned from, and why not the others: each rule, and that none of them is got around."""

import pytest

from rjepa.feedback.decisions import Rules
from rjepa.feedback.evidence import Evidence
from rjepa.feedback.known import KnownProblem
from rjepa.feedback.records import Interaction, Owner, Review
from rjepa.feedback.selection import select
from rjepa.schemas import Verdict

from .answers import WRONG, evidence

RIGHT = Verdict(is_valid=True, is_correct=True, reason="ok")
FALSE = Verdict(is_valid=False, is_correct=False, reason="wrong_answer")
NOUNS = "shells pens coins books stones cards apples ships trees lamps doors boats".split()


def statement(number: int = 0) -> str:
    """Problems that are no near-duplicates of each other."""
    noun = NOUNS[number % len(NOUNS)]
    return f"Ana finds {number + 21} {noun} on day {number} and gives some to Ben. How many {noun} has he?"


def owner(number: int) -> Owner:
    return Owner(f"key:{number:012x}")


def known(split: str = "train", in_parent: bool = True, problem_id: str = "p") -> KnownProblem:
    return KnownProblem("v1.0.0", problem_id, split, 1.0, in_parent)  # type: ignore[arg-type]


def decided(*given: Evidence, rules: Rules | None = None) -> list[tuple[str, str]]:
    return [(one.outcome, one.reason) for one in select(given, rules).chosen]


def reviewed(decision: str) -> Review:
    return Review("any", decision, "me", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("accepted", "approved_and_probable")),
        ({"p": 0.82}, ("review", "improbable")),
        ({"p": None}, ("accepted", "approved_and_equations_hold")),
        ({"p": None, "right_equations": 1}, ("review", "p_unknown")),
        ({"vote": None}, ("review", "no_vote")),
        ({"vote": "down"}, ("rejected", "thumbs_down")),
        ({"vote": None, "check": RIGHT}, ("accepted", "check_passed")),
        ({"check": FALSE}, ("rejected", "check_failed")),
        ({"vote": "down", "check": RIGHT}, ("review", "vote_against_check")),
        ({"wrong_step": 1}, ("rejected", "wrong_step")),
        ({"wrong_step": 1, "review": reviewed("accept")}, ("rejected", "wrong_step")),
        ({"chain_fault": "wrong_answer"}, ("refused", "unreadable_chain")),
        ({"vote": None, "review": reviewed("accept")}, ("accepted", "reviewer_accepted")),
        ({"review": reviewed("reject")}, ("rejected", "reviewer_rejected")),
        ({"vote": None, "review": reviewed("skip")}, ("review", "no_vote")),
        ({"opted_out": True, "review": reviewed("accept")}, ("refused", "opted_out")),
        ({"excluded": True, "review": reviewed("accept")}, ("refused", "workspace_excluded")),
        ({"finished": False}, ("refused", "no_chain")),
        ({"abstained": True}, ("refused", "no_chain")),
        ({"answer": None}, ("refused", "no_chain")),
        ({"known": known("test", in_parent=False), "review": reviewed("accept")}, ("refused", "held_out_problem")),
        ({"known": known("validation")}, ("refused", "held_out_problem")),
        ({"known": known()}, ("refused", "known_problem")),
        ({"known": known(in_parent=False)}, ("accepted", "approved_and_probable")),
        ({"known": known("validation", problem_id="feedback-1")}, ("refused", "already_learned")),
    ],
)
def test_one_interaction_alone(given: dict, expected: tuple[str, str]) -> None:
    assert decided(evidence(statement(), **given)) == [expected]


def test_conversations_and_redacted_questions_wait_for_a_person() -> None:
    talk = evidence(statement())
    messages = talk.content.messages
    longer = talk.content.model_copy(update={"messages": (*messages, *messages)})
    for changed in ({"content": longer}, {"redactions": {"email": 1}}):
        interaction = Interaction(**{**vars(talk.interaction), **changed})
        ((outcome, reason),) = decided(Evidence(**{**vars(talk), "interaction": interaction}))
        assert outcome == "review" and reason in ("conversation", "redacted_question")


def test_votes_that_contradict_each_other_settle_nothing() -> None:
    up, down = evidence(statement(), "up", owner(1)), evidence(statement(), "down", owner(2))
    assert decided(up, down) == [("review", "contradictory_votes"), ("rejected", "thumbs_down")]
    other = evidence(statement(), "up", owner(2), answer="19")
    assert decided(up, other) == [("review", "answers_disagree")] * 2
    same_in_other_words = evidence(statement(), "up", owner(2), answer="18.0")
    assert decided(up, same_in_other_words) == [("accepted", "approved_and_probable"), ("refused", "duplicate")]


def test_of_equal_and_nearly_equal_questions_the_surest_stays() -> None:
    long = (
        "Ana walks along the sea with her dog on a windy morning, looks between the rocks and finds 21 shells; "
        "on her way home she finds 4 more, and her friend Ben, who came later, has 7 fewer than she has now. How "
        "many shells does Ben have when both of them come home in the evening?"
    )
    first = evidence(long, "up", owner(1), p=0.9)
    surer = evidence(long.upper(), "up", owner(2), p=0.95)
    near = evidence(long.replace("windy", "sunny"), "up", owner(3), p=0.85)
    reasons = [reason for _, reason in decided(first, surer, near)]
    assert reasons == ["duplicate", "approved_and_probable", "near_duplicate"]


def test_no_owner_and_no_key_gives_more_than_its_share() -> None:
    rules = Rules(per_owner=2, per_client=3)
    mine = [evidence(statement(number), "up", Owner("key:1", "a"), p=0.9 + number / 100) for number in range(3)]
    others = [evidence(statement(number), "up", Owner("key:1", "b")) for number in range(3, 6)]
    reasons = [reason for _, reason in decided(*mine, *others, rules=rules)]
    assert reasons.count("approved_and_probable") == 3
    assert reasons[0] == "owner_cap", "the surest stay"
    assert reasons.count("client_cap") + reasons.count("owner_cap") == 3


def test_a_flood_of_one_key_goes_to_review_and_other_keys_do_not() -> None:
    rules = Rules(flood_per_hour=5)
    flood = [evidence(statement(number), "up", Owner("key:bad", f"u{number}")) for number in range(6)]
    honest = evidence(statement(7), "up", owner(1))
    reasons = [reason for _, reason in decided(*flood, honest, rules=rules)]
    assert reasons == ["flood"] * 6 + ["approved_and_probable"]
    slow = [evidence(statement(number), "up", Owner("key:slow"), voted_at_ms=number * 3_600_000) for number in range(6)]
    assert "flood" not in {reason for _, reason in decided(*slow, rules=rules)}


def test_an_owner_whom_checks_often_contradict_is_not_believed() -> None:
    liar, honest = owner(1), owner(2)
    lies = [evidence(statement(number), "up", liar, check=FALSE) for number in range(3)]
    slips = [evidence(statement(number), "up", honest, check=FALSE) for number in range(3, 6)]
    right = [evidence(statement(number), "up", honest, check=RIGHT) for number in range(6, 10)]
    claims = [evidence(statement(10), "up", liar), evidence(statement(11), "up", honest)]
    reasons = [reason for _, reason in decided(*lies, *slips, *right, *claims)]
    assert reasons[-2:] == ["untrusted_owner", "approved_and_probable"]


def test_wrong_chains_go_with_an_accepted_problem_where_a_checker_finds_the_step() -> None:
    approved = evidence(statement(), "up", owner(1))
    rejected = evidence(statement(), "down", owner(2), steps=WRONG, answer="19", wrong_step=0)
    unlike = evidence(statement(1), "down", owner(2), steps=WRONG, answer="19", wrong_step=0)
    merely_disliked = evidence(statement(), "down", owner(3), answer="17")
    selection = select([approved, rejected, unlike, merely_disliked])
    (accepted,) = selection.accepted
    assert [(chain.interaction_id, chain.steps) for chain in accepted.negatives] == [
        (rejected.interaction.interaction_id, WRONG)
    ]
    assert selection.funnel.negatives == 1
    (alone,) = select([evidence(statement(), "up", owner(1), wrong=(WRONG, ("no sum at all",)))]).accepted
    assert [chain.steps for chain in alone.negatives] == [WRONG], "of its own candidates too"


def test_the_funnel_counts_everything_once_and_equal_evidence_gives_equal_hashes() -> None:
    given = [evidence(statement(number), vote) for number, vote in enumerate(("up", "down", None, "up"))]  # type: ignore[arg-type]
    gone = Interaction(**{**vars(given[3].interaction), "content": None, "deleted_at_ms": 1})
    tombstone = Evidence(**{**vars(given[3]), "interaction": gone})
    selection = select([*given[:3], tombstone])
    funnel = selection.funnel
    assert (funnel.kept, funnel.withdrawn) == (3, 1)
    assert sum(funnel.outcomes.values()) == sum(funnel.reasons.values()) == 3
    assert selection.withdrawn == (gone.interaction_id,)
    assert select([tombstone, *reversed(given[:3])]).sha256 == selection.sha256
    assert select(given).sha256 != selection.sha256
