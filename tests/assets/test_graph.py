"""The graph as Dagster sees it: it loads, its partitions map as written, its automation asks only for what it may."""

from pathlib import Path

import dagster as dg

import rjepa_assets
from rjepa_assets.definitions import build_defs, defs
from rjepa_assets.defs.partitions import DATASET, LLM, partition_key, split_partition
from rjepa_assets.defs.resources import HomeResource
from rjepa_assets.defs.stage import with_metadata
from rjepa_assets.launching import migration_launches, release_launches, stages_of, starting_from

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
DECODERS = ["latent_decoder", "logit_guidance"]
FEEDBACK = ["interactions", "feedback_selection"]
BESIDE = [
    "request",
    "train_rollouts",
    "rjepa_variants",
    "variants_report",
    "sealed_candidates",
    "rehearsal",
    "adapter",
    "student_lora",
    *DECODERS,
]


def upstream(graph: dg.Definitions, asset: str) -> set[str]:
    keys = graph.resolve_asset_graph().get(dg.AssetKey(asset)).parent_keys
    return {key.to_user_string() for key in keys}


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs())


def test_the_graph_is_the_one_of_the_architecture_page() -> None:
    graph = build_defs()
    keys = {key.to_user_string() for key in graph.resolve_asset_graph().toposorted_asset_keys}
    assert keys == {*PIPELINE, *BESIDE, *FEEDBACK}
    assert upstream(graph, "feedback_selection") == {"interactions"}
    assert upstream(graph, "problems") == {"feedback_selection"}
    assert upstream(graph, "rollouts") == upstream(graph, "latents") == {"dataset_release", "student", "request"}
    assert upstream(graph, "student_lora") == {"dataset_release", "student"}
    assert upstream(graph, "train_rollouts") == {"dataset_release", "student"}
    assert upstream(graph, "rjepa_checkpoint") == {"latents", "latent_normalizer", "train_rollouts"}
    assert upstream(graph, "score_calibration") == {"rollouts", "latent_normalizer", "rjepa_checkpoint", "adapter"}
    assert upstream(graph, "adapter") == {"latents", "rjepa_checkpoint", "dataset_release", "student"}
    assert upstream(graph, "release") == {"benchmark_report", "sealed_candidates", *DECODERS}
    assert upstream(graph, "sealed_candidates") == {"benchmark_report"}
    assert upstream(graph, "latent_decoder") == {"latents", "rjepa_checkpoint"}
    assert upstream(graph, "logit_guidance") == {"latents", "rjepa_checkpoint", "score_calibration"}
    assert upstream(graph, "benchmark_report") == {"rollouts", "train_rollouts", "score_calibration"}
    assert upstream(graph, "rjepa_variants") == {"latents", "latent_normalizer", "train_rollouts"}
    assert upstream(graph, "variants_report") == {"rollouts", "train_rollouts", "rjepa_variants"}


def test_nothing_of_dagsters_private_modules_is_used() -> None:
    folder = Path(rjepa_assets.__file__).parent
    assert [path.name for path in folder.rglob("*.py") if "dagster._" in path.read_text(encoding="utf-8")] == []


def test_only_recipes_that_learn_from_wrong_chains_have_the_student_answer_training_problems() -> None:
    names = {
        recipe: [name for launch in stages_of(release_launches("v1.0.0", "tiny-a", recipe)) for name in launch.assets]
        for recipe in ("demo", "rank")
    }
    assert set(names["rank"]) - set(names["demo"]) == {"train_rollouts"}
    assert names["rank"].index("train_rollouts") < names["rank"].index("rjepa_checkpoint")
    assert set(names["demo"]) == {*PIPELINE, "request"}


def test_decoders_are_made_when_they_are_asked_for_and_before_the_release() -> None:
    launches = stages_of(release_launches("v1.0.0", "tiny-a", "demo", guidance_recipe="guidance-long"))
    names = [name for launch in launches for name in launch.assets]
    assert set(names) == {*PIPELINE, *DECODERS, "request"}
    assert names.index("score_calibration") < names.index("logit_guidance") < names.index("release")
    configs = [launch.config["logit_guidance"] for launch in launches if "logit_guidance" in launch.assets]
    assert configs == [{"recipe": "guidance-long"}]


def test_migrating_makes_no_dataset_and_trains_only_where_that_was_asked_for() -> None:
    def names(strategy: str) -> list[str]:
        launches = migration_launches("v1.0.0", "tiny-a", "tiny-b", strategy, 0.1, "demo")
        return [name for launch in stages_of(launches) for name in launch.assets]

    reads = ["student", "request", "latents", "rollouts"]
    judges = ["score_calibration", "benchmark_report", "release"]
    assert sorted(names("calibration")) == sorted([*{*reads} - {"latents"}, "adapter", *judges])
    assert names("calibration").index("adapter") < names("calibration").index("score_calibration")
    assert sorted(names("retrain")) == sorted([*reads, "latent_normalizer", "rjepa_checkpoint", *judges])
    assert sorted(names("transfer")) == sorted(names("retrain"))
    grown = migration_launches("v1.0.0", "tiny-a", "tiny-b", "transfer", 0.1, "")[1].config["rjepa_checkpoint"]
    assert grown == {"recipe": "transfer", "grow_from": "tiny-a", "share": 0.1}


def test_starting_from_an_asset_leaves_out_what_comes_before_it() -> None:
    left = starting_from(stages_of(release_launches("v1.0.0", "tiny-a", "demo")), "score_calibration")
    assert [name for launch in left for name in launch.assets] == ["score_calibration", "benchmark_report", "release"]
    assert all(launch.again and set(launch.config) <= set(launch.assets) for launch in left)


def test_every_figure_of_an_asset_can_be_explained() -> None:
    for spec in build_defs().resolve_all_asset_specs():
        if spec.key != dg.AssetKey("request"):
            assert "was_there_already" in str(spec.metadata["figures"].value), spec.key


def test_every_asset_that_makes_something_is_checked() -> None:
    graph = build_defs().resolve_asset_graph()
    checked = {key.asset_key.to_user_string() for key in graph.asset_check_keys}
    assert {*PIPELINE, *DECODERS, "adapter", "feedback_selection"} - checked == {
        "teacher_chains"
    }  # judged by validated_chains


def test_a_pair_is_its_dataset_and_its_llm() -> None:
    key = partition_key("v1.0.0", "tiny-a")
    assert key == dg.MultiPartitionKey({LLM: "tiny-a", DATASET: "v1.0.0"})
    assert split_partition(key) == ("v1.0.0", "tiny-a")


def test_only_one_stage_at_a_time_uses_the_accelerator() -> None:
    pools = {
        definition.key.to_user_string(): definition.op.pool
        for definition in build_defs().assets or []
        if isinstance(definition, dg.AssetsDefinition)
    }
    heavy = {"student", "rollouts", "train_rollouts", "latents", "rjepa_checkpoint", "rjepa_variants", *DECODERS}
    heavy |= {"sealed_candidates", "rehearsal", "adapter", "student_lora"}
    assert {name for name, pool in pools.items() if pool == "gpu"} == heavy


def test_training_never_starts_by_itself() -> None:
    specs = build_defs().resolve_all_asset_specs()
    automatic = {spec.key.to_user_string() for spec in specs if spec.automation_condition}
    judged_when_carried = {"score_calibration", "benchmark_report"}
    assert automatic == {"student", "rollouts", "latents", *judged_when_carried}


def test_the_jobs_cover_the_whole_graph() -> None:
    graph = build_defs()
    covered = [
        key.to_user_string()
        for name in (
            "feedback",
            "dataset_version",
            "llm",
            "dataset_and_llm",
            "release_llm",
            "variants",
            "decoders",
            "lora",
            "sealed_problems",
            "rehearse",
        )
        for key in graph.resolve_job_def(name).asset_layer.executable_asset_keys
    ]
    carried = {key.to_user_string() for key in graph.resolve_job_def("carry").asset_layer.executable_asset_keys}
    assert carried == {"adapter", "score_calibration", "benchmark_report"}
    assert sorted([*covered, "adapter"]) == sorted([*PIPELINE, *BESIDE, "feedback_selection"])


def test_the_sensor_takes_partitions_of_what_is_not_registered_and_adds_none(tmp_path: Path) -> None:
    from rjepa_assets.defs.automation import partitions_of_removed_names_go as sensor

    home = HomeResource(root=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(LLM, ["was-removed", "tiny-a"])
        context = dg.build_sensor_context(instance=instance, resources={"home": home})
        [gone] = sensor(context).dynamic_partitions_requests
        assert (gone.partitions_def_name, list(gone.partition_keys)) == (LLM, ["was-removed"])
        instance.delete_dynamic_partition(LLM, "was-removed")
        assert not sensor(context).dynamic_partitions_requests
        assert instance.get_dynamic_partitions(DATASET) == []


def test_what_a_person_reads_first_stands_above_the_numbers() -> None:
    told = with_metadata(
        dg.MaterializeResult(metadata={"accuracy": 0.5, "problems": 9}), story="what is served, and why"
    )
    assert list(told.metadata or {}) == ["story", "accuracy", "problems"]
