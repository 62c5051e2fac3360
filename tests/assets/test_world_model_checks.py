"""Every check of a trained model fails on the fault it is there for, and on no other."""

from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import pytest

from rjepa.files import write_json
from rjepa.home import Home
from rjepa.jepa.diagnostics import Diagnostics
from rjepa.jepa.probes import Probe
from rjepa.jepa.stage import DIAGNOSTICS_FILE, model_folder
from rjepa_assets.defs import world_model
from rjepa_assets.defs.resources import HomeResource

CHECKPOINT = dg.AssetKey("rjepa_checkpoint")
PARTITION = ("tiny", "v1.0.0")
SOUND = Diagnostics(
    steps=1000,
    loss=0.10,
    loss_of_mean=0.30,
    loss_of_copy=0.40,
    loss_of_ridge=0.15,
    rankme=60.0,
    rankme_of_latents=120.0,
    deviation=0.9,
    encoder_width=160,
    leak=1e-6,
    target_has_gradient=False,
    unmoved=0,
    domain_probe=Probe(0.9, 0.8, 0.4),
    step_probe=Probe(0.9, 0.9, 0.3),
)
FAULTS = {
    "rjepa_has_skill_over_mean_and_copy": {"loss_of_mean": 0.09},
    "rjepa_beats_ridge": {"loss_of_ridge": 0.09},
    "representation_has_not_collapsed": {"rankme": 2.0},
    "every_parameter_moved": {"unmoved": 1},
    "target_gets_no_gradient": {"target_has_gradient": True},
}


def is_of_the_model(value: object) -> bool:
    return isinstance(value, dg.AssetChecksDefinition) and next(iter(value.check_keys)).asset_key == CHECKPOINT


def verdicts(home: Home, found: Diagnostics) -> dict[str, bool]:
    write_json(model_folder(home, *PARTITION) / DIAGNOSTICS_FILE, {"model": "", "diagnostics": asdict(found)})
    checks = [value for value in vars(world_model).values() if is_of_the_model(value)]
    instance = dg.DagsterInstance.ephemeral()
    results = {}
    for check in checks:
        context = dg.build_op_context(instance=instance, partition_key=f"{PARTITION[1]}|{PARTITION[0]}")
        function = check.node_def.compute_fn.decorated_fn
        results[function.__name__] = bool(function(context, HomeResource(root=str(home.root))).passed)
    return results


def test_a_sound_model_passes_every_check(tmp_path: Path) -> None:
    assert verdicts(Home(tmp_path), SOUND) == dict.fromkeys(FAULTS, True)


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_fails_its_own_check_alone(check: str, tmp_path: Path) -> None:
    found = verdicts(Home(tmp_path), replace(SOUND, **FAULTS[check]))
    assert [name for name, passed in found.items() if not passed] == [check]


def test_states_without_spread_are_a_collapse_too(tmp_path: Path) -> None:
    found = verdicts(Home(tmp_path), replace(SOUND, deviation=0.01))
    assert not found["representation_has_not_collapsed"]


def test_a_failed_check_stops_what_depends_on_the_model() -> None:
    """All block but the one over ridge, whose severity is decided beside it."""
    blocking = {
        spec.name: spec.blocking
        for value in vars(world_model).values()
        if is_of_the_model(value)
        for spec in value.check_specs
    }
    assert blocking.keys() == FAULTS.keys()
    assert {name for name, blocks in blocking.items() if not blocks} <= {"rjepa_beats_ridge"}
