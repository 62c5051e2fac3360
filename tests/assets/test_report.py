"""`rjepa report`, `rjepa eval compare` and `rjepa uncertain` on a home that the real demo has made."""

import json

import pytest
import torch

from rjepa.datasets.recipe import load_recipe
from rjepa.errors import InvalidInputError
from rjepa.evaluation.variants import _waves, list_variants, read_variants_report, variants_report_folder
from rjepa.home import Home
from rjepa.jepa.config import load_jepa_config
from rjepa.jepa.stage import build_checkpoint, open_variant
from rjepa.latents.rollouts import open_rollouts
from rjepa.releases.pointer import require_current
from rjepa_assets.defs.inputs import recipe_version
from rjepa_assets.instance import open_instance
from rjepa_assets.launching import dataset_launches, run_all, stages_of

from .running import rjepa

pytestmark = pytest.mark.slow

PARTITION = ("tiny-a", "smoke")
REPORT = ("report", "--dataset", "smoke", "--recipe", "smoke", "--seeds", "2", "--train-problems", "40")


def test_a_report_trains_what_is_missing_judges_it_and_leaves_the_release_alone(demo_copy: Home) -> None:
    released = require_current(demo_copy, "tiny-a")
    ran = rjepa(demo_copy.root, *REPORT, "--json")
    assert ran.code == 0, ran.stderr
    made = ["train_rollouts", "rjepa_variants", "variants_report"]
    assert [asset for asset, fate in ran.fates.items() if fate == "done"] == made
    found = json.loads(ran.stdout)["reports"]["smoke"]
    assert found["llm"] == "tiny-a"
    assert [(run["variant"], run["seed"]) for run in found["seeds"]] == [("smoke", 0), ("smoke", 1)]
    methods = {row["method"] for row in found["leaderboard"]}
    assert {"rjepa", "probe_logprob", "gated_vote", "text", "mahalanobis", "untrained", "logprob_sum_vote"} <= methods
    answered = open_rollouts(demo_copy, *PARTITION, asset="train_rollouts").problems
    assert len(answered) == 40 and {problem.split for problem in answered} == {"train"}
    result = read_variants_report(demo_copy, *PARTITION)
    assert result.variant == "smoke" and {row.seeds for row in result.spreads if row.figure == "accuracy"} == {2}
    assert (variants_report_folder(demo_copy, *PARTITION) / "report.html").exists()
    assert require_current(demo_copy, "tiny-a") == released

    again = rjepa(demo_copy.root, *REPORT)
    assert again.code == 0 and set(again.fates.values()) == {"is up to date"}
    assert "R-JEPA smoke" in again.stdout and "Over seeds:" in again.stdout

    first, second = (f"smoke-{run.seed}" for run in list_variants(demo_copy, *PARTITION))
    ran = rjepa(demo_copy.root, "eval", "compare", first, second, "--dataset", "smoke", "--json")
    assert ran.code == 0, ran.stderr
    duel = json.loads(ran.stdout)
    accuracy = {run["seed"]: run["accuracy_combined"] for run in found["seeds"]}
    assert [duel[side]["accuracy"]["all"] for side in "ab"] == [accuracy[0], accuracy[1]]

    ran = rjepa(demo_copy.root, "uncertain", "--limit", "5", "--dataset", "smoke", "--split", "validation", "--json")
    assert ran.code == 0, ran.stderr
    listed = json.loads(ran.stdout)
    assert listed["by"] == released and len(listed["problems"]) == 5
    doubts = [row["uncertainty"] for row in listed["problems"]]
    assert doubts == sorted(doubts, reverse=True) and {row["split"] for row in listed["problems"]} == {"validation"}
    unknown = rjepa(demo_copy.root, "eval", "compare", "nobody", first, "--dataset", "smoke")
    assert unknown.code == 1 and "smoke-1" in unknown.stderr and "Traceback" not in unknown.stderr


def test_an_edited_recipe_is_another_input_of_what_is_trained_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe_version(["smoke"])
    edited = load_jepa_config("smoke").model_copy(update={"seed": 7})
    monkeypatch.setattr("rjepa_assets.defs.inputs.load_jepa_config", lambda name: edited)
    assert recipe_version(["smoke"]) != before


def test_a_trunk_is_trained_first_under_the_same_seed_and_an_edited_one_again(
    demo_copy: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"smoke": load_jepa_config("smoke")}
    changes = {"name": "head", "trunk": "smoke", "energy": "rank", "loss": {"rank": 1.0}}
    known["head"] = type(known["smoke"]).model_validate(known["smoke"].model_dump() | changes)
    for module in ("rjepa.jepa.stage", "rjepa.evaluation.variants", "rjepa_assets.defs.inputs"):
        monkeypatch.setattr(f"{module}.load_jepa_config", known.__getitem__)
    build_checkpoint(demo_copy, *PARTITION, "head", seed=3)
    trunk, head = (open_variant(demo_copy, *PARTITION, recipe, 3)[0] for recipe in ("smoke", "head"))
    assert trunk.config.seed == 3 and trunk.rank_head is None and head.rank_head is not None
    assert torch.equal(trunk.predictor.mask_token, head.predictor.mask_token)
    assert _waves([("head", 0), ("head", 1), ("smoke", 0)]) == [
        [("smoke", 0), ("smoke", 1)],
        [("head", 0), ("head", 1)],
    ]

    before = recipe_version(["head"])
    known["smoke"] = known["smoke"].model_copy(update={"seed": 7})
    assert recipe_version(["head"]) != before


def test_a_released_dataset_whose_recipe_was_edited_is_refused_and_not_taken_for_the_new_one(
    demo_copy: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = load_recipe(demo_copy, "smoke").model_copy(update={"seed": 7})
    monkeypatch.setattr("rjepa.datasets.recipe.load_recipe", lambda home, name: edited)
    with (
        open_instance(demo_copy) as instance,
        (demo_copy.root / "log").open("w") as log,
        pytest.raises(InvalidInputError, match="released from another recipe.*\n.*bump the version"),
    ):
        run_all(instance, stages_of(dataset_launches("smoke")), log.fileno())
