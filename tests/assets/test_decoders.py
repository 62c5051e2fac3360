"""Decoders as assets, on a home that the real demo has made: what they hand over, and that a release guides by it."""

import dagster as dg
import pytest

from rjepa.datasets.reading import load_problems
from rjepa.engine import Engine
from rjepa.evaluation.guided_fit import SEVERAL
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.living.night import served_guidance_recipe
from rjepa.parts import GUIDED_CALIBRATION
from rjepa.reasoning.question import ask
from rjepa.releases.bundle import load_manifest
from rjepa.releases.pointer import require_current
from rjepa_assets.defs.stage import DECODERS_JOB, RELEASE_JOB
from rjepa_assets.instance import open_instance
from rjepa_assets.launching import Launch, run_all

pytestmark = pytest.mark.slow

TAG, DATASET = "tiny-a", "smoke"


def test_guidance_is_made_checked_and_released_with_how_sure_its_answers_are(demo_copy: Home) -> None:
    guidance = Launch(
        DECODERS_JOB, f"{DATASET}|{TAG}", ("logit_guidance",), config={"logit_guidance": {"recipe": "smoke"}}
    )
    served = require_current(demo_copy, TAG)
    release = Launch(RELEASE_JOB, TAG, config={"release": {"dataset": DATASET, "rule": "replace"}})
    with open_instance(demo_copy) as instance, (demo_copy.root / "log").open("w") as log:
        run_all(instance, [guidance, release], log.fileno())
        made = instance.get_latest_materialization_event(dg.AssetKey("logit_guidance"))
        assert made is not None and made.asset_materialization is not None
        figures = {name: value.value for name, value in made.asset_materialization.metadata.items()}
        events = instance.all_logs(made.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        checks = {event.get_dagster_event().asset_check_evaluation_data.check_name for event in events}
    assert 0 <= figures["accuracy_alone"] <= 1 and figures["choice"] in ("energy", "logprob")
    assert f"{SEVERAL} candidates, by energy" in figures["tried"]
    fitted = demo_copy.models(TAG, DATASET) / GUIDED_CALIBRATION
    assert ScoreCalibration.load(fitted).num_candidates == SEVERAL and figures["guided_problems"] > 0
    before, after = (load_manifest(demo_copy, TAG, name) for name in (served, require_current(demo_copy, TAG)))
    assert [served_guidance_recipe(demo_copy, one) for one in (before, after)] == ["", "smoke"]
    engine = Engine.load(demo_copy, TAG, "cpu")
    assert "nudge" in engine.modes
    statements = [problem.statement for problem in load_problems(demo_copy, DATASET, "validation", 6)]
    answers = engine.answer_many([ask(one, "nudge", {"num_candidates": 3}) for one in statements])
    # One validation problem in a hundred is too far from those of training to be guided.
    assert sum(answer.p_correct is not None for answer in answers) >= 4
    assert {"guidance_helps_on_validation_problems", "guided_prefix_chances_come_true"} <= checks
