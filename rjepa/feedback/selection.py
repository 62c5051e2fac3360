"""Which interactions the next dataset version learns from: each is accepted, rejected, to be reviewed or refused.

Pure: equal evidence and rules give equal selections. `evidence` gathers what this decides on, `decisions` has the
reasons and thresholds, and `snapshot` makes a data set of what is accepted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from rjepa.feedback.crowd import Crowd, near_duplicates
from rjepa.feedback.decisions import Chosen, Outcome, Reason, Rules, Selection, WrongChain
from rjepa.feedback.evidence import Evidence
from rjepa.feedback.records import Owner
from rjepa.problems.splitting import statement_key
from rjepa.validation.equations import first_wrong_equation

_BY_VOTE: Final[frozenset[Reason]] = frozenset({"approved_and_probable", "approved_and_equations_hold"})
"""Acceptances that rest on somebody's word, and so on how far that word can be trusted."""


def select(evidence: Iterable[Evidence], rules: Rules | None = None) -> Selection:
    """Decide on every interaction.

    Each is first decided alone, then against the votes of others on the same question, and last as one of many of its
    owner and its key.
    """
    rules = rules or Rules()
    ordered = sorted(evidence, key=lambda one: (one.interaction.answered_at_ms, one.interaction.interaction_id))
    present = [one for one in ordered if one.interaction.content is not None]
    crowd = Crowd.of(present, rules.flood_per_hour, rules.min_contradictions, rules.max_contradicted)
    chosen = [Chosen(one, *_alone(one, rules)) for one in present]
    chosen = [_among_others(one, crowd) for one in chosen]
    chosen = _once_each(chosen)
    chosen = _capped(chosen, rules)
    withdrawn = tuple(one.interaction.interaction_id for one in ordered if one.interaction.content is None)
    return Selection(tuple(_with_negatives(chosen, rules)), withdrawn, rules)


def _alone(one: Evidence, rules: Rules) -> tuple[Outcome, Reason]:
    """What one interaction's own evidence says."""
    reason = _never(one)
    if reason is not None:
        return "refused", reason
    decision = one.review.decision if one.review is not None else None
    if decision == "reject":
        return "rejected", "reviewer_rejected"
    if one.wrong_step is not None:
        return "rejected", "wrong_step"
    vote = one.vote.vote if one.vote is not None else None
    if one.check is not None and decision is None:
        if not one.check.is_valid:
            return "rejected", "check_failed"
        if vote == "down":
            return "review", "vote_against_check"
    if one.chain_fault is not None:
        return "refused", "unreadable_chain"
    if decision == "accept":
        return "accepted", "reviewer_accepted"
    if vote == "down":
        return "rejected", "thumbs_down"
    if one.content.is_conversation:
        return "review", "conversation"
    if one.interaction.redactions:
        return "review", "redacted_question"
    if one.check is not None:
        return "accepted", "check_passed"
    if vote is None:
        return "review", "no_vote"
    return _approved(one, rules)


def _never(one: Evidence) -> Reason | None:
    """Why an interaction can never be learned from, whatever anybody says of it."""
    content, known = one.content, one.known
    if one.opted_out:
        return "opted_out"
    if one.excluded:
        return "workspace_excluded"
    if content.abstained or not content.finished or not content.steps or not (content.final_answer or "").strip():
        return "no_chain"
    if known is None:
        return None
    if known.from_feedback and known.in_parent:
        return "already_learned"
    if known.held_out:
        return "held_out_problem"
    return "known_problem" if known.in_parent else None


def _approved(one: Evidence, rules: Rules) -> tuple[Outcome, Reason]:
    probability = one.interaction.p_correct
    if probability is not None:
        if probability >= rules.min_p_correct:
            return "accepted", "approved_and_probable"
        return "review", "improbable"
    if one.right_equations >= rules.min_equations:
        return "accepted", "approved_and_equations_hold"
    return "review", "p_unknown"


def _among_others(one: Chosen, crowd: Crowd) -> Chosen:
    """A vote alone does not stand against other votes, nor does that of somebody who is often wrong, or in a flood."""
    if one.reason not in _BY_VOTE:
        return one
    evidence = one.evidence
    reason: Reason | None = None
    if crowd.is_contradicted(evidence):
        reason = "contradictory_votes"
    elif crowd.has_rivals(evidence):
        reason = "answers_disagree"
    elif crowd.is_untrusted(evidence):
        reason = "untrusted_owner"
    elif crowd.is_flood(evidence):
        reason = "flood"
    return one if reason is None else replace(one, outcome="review", reason=reason)


def _once_each(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Of accepted ones that ask the same, or nearly the same, the best stays: the surest, then the earliest."""
    accepted = sorted((one for one in chosen if one.outcome == "accepted"), key=_rank)
    repeated = near_duplicates([one.evidence.content.statement for one in accepted])
    verdicts: dict[str, Reason] = {
        accepted[place].interaction_id: "duplicate" if alike == 1.0 else "near_duplicate"
        for place, alike in repeated.items()
    }
    return [
        replace(one, outcome="refused", reason=verdicts[one.interaction_id])
        if one.outcome == "accepted" and one.interaction_id in verdicts
        else one
        for one in chosen
    ]


def _capped(chosen: Sequence[Chosen], rules: Rules) -> list[Chosen]:
    """No owner and no key gives more than its share; the surest stay."""
    of_owner: Counter[Owner] = Counter()
    of_client: Counter[str] = Counter()
    over: dict[str, Reason] = {}
    for one in sorted((one for one in chosen if one.outcome == "accepted"), key=_rank):
        owner = one.evidence.interaction.owner
        if of_owner[owner] >= rules.per_owner:
            over[one.interaction_id] = "owner_cap"
        elif of_client[owner.client] >= rules.per_client:
            over[one.interaction_id] = "client_cap"
        else:
            of_owner[owner] += 1
            of_client[owner.client] += 1
    return [
        replace(one, outcome="refused", reason=over[one.interaction_id]) if one.interaction_id in over else one
        for one in chosen
    ]


def _with_negatives(chosen: Sequence[Chosen], rules: Rules) -> list[Chosen]:
    """Give accepted ones the wrong chains of their question, where a checker finds the wrong step."""
    wrong: dict[str, list[WrongChain]] = defaultdict(list)
    for one in chosen:
        if one.outcome in ("accepted", "rejected"):
            wrong[statement_key(one.evidence.content.statement)] += _wrong_chains(one)
    found = []
    for one in chosen:
        if one.outcome == "accepted":
            given = wrong[statement_key(one.evidence.content.statement)]
            distinct = {(chain.steps, chain.final_answer): chain for chain in reversed(given)}
            one = replace(one, negatives=tuple(reversed(distinct.values()))[: rules.max_negatives])
        found.append(one)
    return found


def _wrong_chains(one: Chosen) -> list[WrongChain]:
    content = one.evidence.content
    chains = [(content.steps, content.final_answer, content.finished)]
    chains += [(tuple(each.steps), each.final_answer, each.finished) for each in content.candidates]
    return [
        WrongChain(one.interaction_id, steps, answer)
        for steps, answer, finished in chains
        if finished and answer and first_wrong_equation(list(steps)) is not None
    ]


def _rank(one: Chosen) -> tuple[float, int, str]:
    interaction = one.evidence.interaction
    sure = one.reason in ("check_passed", "reviewer_accepted")
    probability = 2.0 if sure else (interaction.p_correct or 0.0)
    return -probability, interaction.answered_at_ms, interaction.interaction_id
