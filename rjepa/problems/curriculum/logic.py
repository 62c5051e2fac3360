"""Rule chaining: follow the rules that apply until none does.

Rex is a wug. Rex is red, not big, old. Every wug is a dax if red. Every dax is a fep if not big. Every wug is a zup if
not red. What is Rex in the end?

Step 1: Every wug is a dax if red, so Rex is a dax
Step 2: Every dax is a fep if not big, so Rex is a fep

A rule names its kind and where it leads before its conditions: a student that quotes it then looks up one thing at a
time (docs/lab-book/01-form-of-a-step.md, docs/lab-book/06-where-a-rule-says-its-conditions.md).
"""

import random
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

NAMES = "Rex Ivy Gus Una Vic Ned Pia Zoe Max Leo".split()  # noqa: SIM905
KINDS = (
    "wug dax fep zup blick toma gorp lorp yump rompus tumpus vumpus zumpus jompus sterpus grimpus shumpus lempus "  # noqa: SIM905
    "wumpus numpus dumpus impus brimp quass flim drun snop trab kleb morv"
).split()
ATTRIBUTES = "red big old cold soft loud round shiny".split()  # noqa: SIM905

Condition = tuple[str, bool]
"""(attribute, whether it must hold)."""


@dataclass(frozen=True)
class Rule:
    """Everything of kind `source` that meets all conditions is of kind `target`."""

    source: str
    conditions: tuple[Condition, ...]
    target: str


@dataclass(frozen=True)
class RuleSet:
    """One individual, its starting kind, its attributes, and rules in the order of the statement."""

    name: str
    start: str
    facts: dict[str, bool]
    rules: tuple[Rule, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON value for `Problem.meta["spec"]`."""
        rules = [[rule.source, [list(condition) for condition in rule.conditions], rule.target] for rule in self.rules]
        return {"kind": "rules", "name": self.name, "start": self.start, "facts": self.facts, "rules": rules}

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> "RuleSet":
        """The inverse of `to_json`."""
        rules = tuple(Rule(s, tuple((str(a), bool(v)) for a, v in conditions), t) for s, conditions, t in spec["rules"])
        return cls(spec["name"], spec["start"], dict(spec["facts"]), rules)


class Size(NamedTuple):
    """Least and most steps and dead ends, and the chance that a rule on the path has none, one or two conditions."""

    steps: tuple[int, int]
    dead_ends: tuple[int, int]
    conditions: tuple[float, float, float]


SIZES: Final = {
    "easy": Size((3, 4), (1, 3), (0.5, 0.5, 0.0)),
    "medium": Size((4, 6), (3, 6), (0.2, 0.6, 0.2)),
    "hard": Size((6, 8), (5, 9), (0.1, 0.5, 0.4)),
}


def sample(rng: random.Random, difficulty: str) -> tuple[RuleSet, str]:
    """A rule set with one path to its end, dead ends beside it, and its statement."""
    size = SIZES[difficulty]
    steps = rng.randint(*size.steps)
    facts = {attribute: rng.random() < 0.5 for attribute in rng.sample(ATTRIBUTES, rng.randint(3, 5))}
    kinds = rng.sample(KINDS, len(KINDS))
    path = [kinds.pop() for _ in range(steps + 1)]
    rules: list[Rule] = []
    for source, target in zip(path, path[1:], strict=False):
        number = rng.choices((0, 1, 2), size.conditions)[0]
        conditions = tuple((attribute, facts[attribute]) for attribute in rng.sample(sorted(facts), number))
        rules.append(Rule(source, conditions, target))
    branches = [rule for rule in rules if rule.conditions]
    sides: list[str] = []
    for _ in range(rng.randint(*size.dead_ends)):
        if branches and (rng.random() < 0.6 or not sides):
            rule = branches.pop(rng.randrange(len(branches)))
            attribute, value = rule.conditions[-1]
            side = Rule(rule.source, (*rule.conditions[:-1], (attribute, not value)), kinds.pop())
        elif sides:
            source = sides.pop(rng.randrange(len(sides)))
            side = Rule(source, _any_condition(rng, facts), kinds.pop())
        else:
            side = Rule(kinds.pop(), _any_condition(rng, facts), rng.choice(path[1:]))
        rules.append(side)
        if side.target not in path:
            sides.append(side.target)
    rng.shuffle(rules)
    rule_set = RuleSet(rng.choice(NAMES), path[0], facts, tuple(rules))
    return rule_set, _statement(rule_set)


def applicable(rule_set: RuleSet, kind: str) -> Rule | None:
    """The rule that applies to the individual as a `kind`, if any. A rule set has at most one for each kind."""
    for rule in rule_set.rules:
        if rule.source == kind and all(rule_set.facts.get(a) is value for a, value in rule.conditions):
            return rule
    return None


def follow(rule_set: RuleSet, kind: str) -> list[Rule]:
    """The rules applied from `kind` to the end."""
    path: list[Rule] = []
    while (rule := applicable(rule_set, kind)) is not None and len(path) <= len(rule_set.rules):
        path.append(rule)
        kind = rule.target
    return path


def step_text(name: str, rule: Rule) -> str:
    """`Every wug is a dax if red, so Rex is a dax`."""
    return f"{rule_text(rule)}, so {name} is a {rule.target}"


def rule_text(rule: Rule) -> str:
    """`Every wug is a dax if red and not big`."""
    conditions = " and ".join(attribute if holds else f"not {attribute}" for attribute, holds in rule.conditions)
    return f"Every {rule.source} is a {rule.target}{f' if {conditions}' if conditions else ''}"


def structure(rule_set: RuleSet) -> str:
    """What stays when words are forgotten: which rule follows from which, in which order, under what conditions."""
    numbers: dict[str, int] = {}
    rows = []
    for rule in rule_set.rules:
        ends = [numbers.setdefault(kind, len(numbers)) for kind in (rule.source, rule.target)]
        rows.append(f"{ends[0]}>{ends[1]}" + "".join("+" if value else "-" for _, value in rule.conditions))
    return ";".join(rows) + f"?{numbers.setdefault(rule_set.start, -1)}"


def _any_condition(rng: random.Random, facts: dict[str, bool]) -> tuple[Condition, ...]:
    return ((rng.choice(sorted(facts)), rng.random() < 0.5),) if rng.random() < 0.5 else ()


def _statement(rule_set: RuleSet) -> str:
    name = rule_set.name
    facts = ", ".join(attribute if holds else f"not {attribute}" for attribute, holds in rule_set.facts.items())
    rules = [f"{rule_text(rule)}." for rule in rule_set.rules]
    return " ".join([f"{name} is a {rule_set.start}. {name} is {facts}.", *rules, f"What is {name} in the end?"])
