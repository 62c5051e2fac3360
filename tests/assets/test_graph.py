"""The graph as Dagster sees it: it loads, its partitions map as written, its automation asks only for what it may."""

from pathlib import Path

import dagster as dg

from rjepa.home import Home
from rjepa_assets.definitions import build_defs, defs
from rjepa_assets.defs.partitions import DATASET, LLM, pair_key, split_pair
from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.outputs import output_of
from rjepa_assets.pipeline import Pipeline, Target

_ADD = dg.AddDynamicPartitionsRequest

PIPELINE = [
    "problems",
    "teacher_chains",
    "validated_chains",
    "dataset_release",
    "student",
    "rollouts",
    "latents",
    "latent_normalizer",
    "rjepa_checkpoint",
    "score_calibration",
    "benchmark_report",
    "release",
]
BESIDE = ["train_rollouts", "rjepa_variants", "variants_report"]


def upstream(graph: dg.Definitions, asset: str) -> set[str]:
    keys = graph.resolve_asset_graph().get(dg.AssetKey(asset)).parent_keys
    return {key.to_user_string() for key in keys}


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs())


def test_the_graph_is_the_one_of_the_architecture_page() -> None:
    graph = build_defs()
    keys = {key.to_user_string() for key in graph.resolve_asset_graph().toposorted_asset_keys}
    assert keys == {*PIPELINE, *BESIDE}
    assert upstream(graph, "rollouts") == upstream(graph, "latents") == {"dataset_release", "student"}
    assert upstream(graph, "train_rollouts") == {"dataset_release", "student"}
    assert upstream(graph, "rjepa_checkpoint") == {"latents", "latent_normalizer", "train_rollouts"}
    assert upstream(graph, "score_calibration") == {"rollouts", "latent_normalizer", "rjepa_checkpoint"}
    assert upstream(graph, "release") == {"benchmark_report"}
    assert upstream(graph, "benchmark_report") == {"rollouts", "train_rollouts", "score_calibration"}
    assert upstream(graph, "rjepa_variants") == {"latents", "latent_normalizer", "train_rollouts"}
    assert upstream(graph, "variants_report") == {"rollouts", "train_rollouts", "rjepa_variants"}


def test_only_recipes_that_learn_from_wrong_chains_have_the_student_answer_training_problems(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        names = {
            recipe: Pipeline(build_defs(), instance, Home(tmp_path), Target("v1.0.0", "tiny-a", recipe)).names
            for recipe in ("demo", "rank")
        }
    assert set(names["rank"]) - set(names["demo"]) == {"train_rollouts"}
    assert names["rank"].index("train_rollouts") < names["rank"].index("rjepa_checkpoint")


def test_every_asset_names_the_file_it_leaves(tmp_path: Path) -> None:
    paths = {output_of(Home(tmp_path), name, "v1.0.0", "tiny-a") for name in (*PIPELINE, *BESIDE)}
    assert len(paths) == len(PIPELINE) + len(BESIDE)


def test_a_pair_is_its_dataset_and_its_llm() -> None:
    key = pair_key("v1.0.0", "tiny-a")
    assert key == dg.MultiPartitionKey({LLM: "tiny-a", DATASET: "v1.0.0"})
    assert split_pair(key) == ("v1.0.0", "tiny-a")


def test_only_one_stage_at_a_time_uses_the_accelerator() -> None:
    pools = {
        definition.key.to_user_string(): definition.op.pool
        for definition in build_defs().assets or []
        if isinstance(definition, dg.AssetsDefinition)
    }
    heavy = {"student", "rollouts", "train_rollouts", "latents", "rjepa_checkpoint", "rjepa_variants"}
    assert {name for name, pool in pools.items() if pool == "gpu"} == heavy


def test_training_never_starts_by_itself() -> None:
    specs = build_defs().resolve_all_asset_specs()
    automatic = {spec.key.to_user_string() for spec in specs if spec.automation_condition}
    assert automatic == {"student", "rollouts", "latents"}


def test_the_jobs_cover_the_whole_graph() -> None:
    graph = build_defs()
    covered = [
        key.to_user_string()
        for name in ("dataset_job", "student_job", "llm_job", "release_job", "variants_job")
        for key in graph.resolve_job_def(name).asset_layer.executable_asset_keys
    ]
    assert sorted(covered) == sorted([*PIPELINE, *BESIDE])


def test_the_sensor_mirrors_the_registry_and_then_is_silent(tmp_path: Path) -> None:
    from rjepa_assets.defs.automation import partitions_follow_the_registry as sensor

    home = HomeResource(root=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(LLM, ["was-removed"])
        context = dg.build_sensor_context(instance=instance, resources={"home": home})
        asked = sensor(context).dynamic_partitions_requests
        added = {one.partitions_def_name: one.partition_keys for one in asked if isinstance(one, _ADD)}
        gone = [one.partition_keys for one in asked if not isinstance(one, _ADD)]
        assert "v1.0.0" in added[DATASET] and "tiny-a" in added[LLM]
        assert gone == [["was-removed"]]
        for name, keys in added.items():
            instance.add_dynamic_partitions(name, keys)
        instance.delete_dynamic_partition(LLM, "was-removed")
        assert not sensor(context).dynamic_partitions_requests
