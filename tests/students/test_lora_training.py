"""A LoRA learns what it is shown, keeps what is replayed or held, goes on where it was killed, and is found again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rjepa.errors import InvalidInputError
from rjepa.files import read_json, sha256_file
from rjepa.students.corpus import IGNORED
from rjepa.students.loading import Student
from rjepa.students.lora.corpus import LoraCorpus, TokenChain
from rjepa.students.lora.ewc import anchor_matrices, lora_layers
from rjepa.students.lora.files import CONFIG, WEIGHTS
from rjepa.students.lora.recipe import (
    EwcConfig,
    LoraRecipe,
    OptimConfig,
    ReplayConfig,
    load_lora_recipe,
    lora_recipe_names,
)
from rjepa.students.lora.stage import choose
from rjepa.students.lora.training import Losses, TrainedLora, train_lora

RECIPE = LoraRecipe(
    name="test",
    ranks=(4,),
    replay=ReplayConfig(share=0.0),
    optim=OptimConfig(updates=24, batch_size=8, learning_rate=0.02, checkpoint_every=8),
)


def _chains(student: Student, pairs: list[tuple[str, str]]) -> list[TokenChain]:
    words = student.tokenizer
    return [(words(first)["input_ids"], [*words(second)["input_ids"], 0]) for first, second in pairs]


@pytest.fixture(scope="module")
def learner(taught: Student) -> Student:
    """The student that adds digits, and its own to change: every test leaves it as it was."""
    return taught


@pytest.fixture(scope="module")
def corpus(learner: Student) -> LoraCorpus:
    """New: what is taken away. Old: what it has learnt by heart."""
    digits = range(10)
    new = [(f"Mia has {a} and loses {b}.\n", f"Step 1: {a} - {b} = {a - b}\n") for a in digits for b in range(a)]
    old = [(f"Mia has {a} and buys {b}.\n", f"Step 1: Mia has {a} + {b} = {a + b}\n") for a in digits for b in digits]
    fresh, known = _chains(learner, new), _chains(learner, old)
    return LoraCorpus(fresh[10:], known[20:], fresh[:10], known[:20], 0, learner.pad_id, ("sums",))


@pytest.fixture(scope="module")
def plain(learner: Student, corpus: LoraCorpus, tmp_path_factory: pytest.TempPathFactory) -> TrainedLora:
    """A LoRA that was shown new chains alone. The student is as it was."""
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    trained = train_lora(learner, corpus, RECIPE, 4, tmp_path_factory.mktemp("plain"))
    after = learner.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    return trained


def test_a_lora_learns_what_it_is_shown(plain: TrainedLora) -> None:
    assert plain.after.new < 0.7 * plain.before.new


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"replay": ReplayConfig(share=0.5)}, id="replay"),
        pytest.param({"ewc": EwcConfig(weight=1.0, chains=20)}, id="ewc"),
    ],
)
def test_replay_and_ewc_keep_what_was_known(
    learner: Student, corpus: LoraCorpus, plain: TrainedLora, tmp_path: Path, kept: dict[str, object]
) -> None:
    careful = train_lora(learner, corpus, RECIPE.model_copy(update=kept), 4, tmp_path)
    assert plain.after.old is not None
    assert careful.after.old is not None
    assert careful.after.old < 0.8 * plain.after.old
    assert careful.after.new < plain.before.new


def test_a_scaled_lora_is_so_much_of_the_change_and_its_losses_are_its_own(
    learner: Student, corpus: LoraCorpus, plain: TrainedLora, tmp_path: Path
) -> None:
    half = train_lora(learner, corpus, RECIPE.model_copy(update={"scale": 0.5}), 4, tmp_path)
    whole_alpha, half_alpha = (read_json(one.folder / CONFIG)["lora_alpha"] for one in (plain, half))
    assert half_alpha == 0.5 * whole_alpha
    assert plain.after.old is not None
    assert half.after.old is not None
    assert half.after.old < plain.after.old
    assert plain.after.new < half.after.new < half.before.new


def test_ewc_holds_a_matrix_by_what_old_chains_lose_when_it_changes(learner: Student, corpus: LoraCorpus) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    student = replace(learner, model=learner.model)
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = inject_adapter_in_model(config, student.model)
    try:
        layers = lora_layers(model)
        weight = next(iter(layers.values())).get_base_layer().weight

        def losses() -> Iterator[torch.Tensor]:
            yield 3.0 * weight[0, 0] + 0.0 * sum(layer.get_base_layer().weight.sum() for layer in layers.values())

        anchor = anchor_matrices(model, losses())
        assert anchor.penalty(model).item() == 0.0
        first = next(iter(anchor.importance.values()))
        assert float(first[0, 0]) > 0
        assert float(first.sum()) == pytest.approx(float(first[0, 0]))
        assert not weight.requires_grad
    finally:
        for layer in list(lora_layers(model)):
            parent, _, name = layer.rpartition(".")
            setattr(model.get_submodule(parent), name, model.get_submodule(layer).get_base_layer())


def test_a_killed_training_goes_on_to_the_same_bytes(
    learner: Student, corpus: LoraCorpus, plain: TrainedLora, tmp_path: Path
) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, _total: int, _note: str = "") -> None:
        if done == 20:
            raise Killed

    with pytest.raises(Killed):
        train_lora(learner, corpus, RECIPE, 4, tmp_path / "killed", kill)
    seen: list[int] = []
    resumed = train_lora(learner, corpus, RECIPE, 4, tmp_path / "killed", lambda done, *_: seen.append(done))
    assert seen[0] == 17
    assert sha256_file(resumed.folder / WEIGHTS) == sha256_file(plain.folder / WEIGHTS)
    assert resumed.after == plain.after
    assert train_lora(learner, corpus, RECIPE, 4, tmp_path / "killed", kill).after == plain.after


def test_a_batch_holds_the_share_of_old_chains_and_every_chain_once_an_epoch(corpus: LoraCorpus) -> None:
    recipe = RECIPE.model_copy(update={"replay": ReplayConfig(share=0.25)})
    known = {tuple(prompt + chain) for prompt, chain in corpus.old}
    seen: list[tuple[int, ...]] = []
    for update in range(len(corpus.new) // 6):
        rows = []
        for batch in corpus.batches(recipe, update):
            for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
                end = int((labels != IGNORED).nonzero().max()) + 1
                rows.append(tuple(ids[:end].tolist()))
        assert sum(row in known for row in rows) == 2
        seen += [row for row in rows if row not in known]
    assert len(seen) == len(set(seen))


def test_the_rank_with_the_lowest_validation_loss_is_kept() -> None:
    def trained(rank: int, new: float, old: float) -> TrainedLora:
        return TrainedLora(Path(), rank, rank, Losses(2, 2), Losses(new, old), 1, 0.0)

    found = [trained(4, 1.0, 1.0), trained(8, 0.5, 1.8), trained(16, 0.8, 1.0)]
    assert choose(found, RECIPE.model_copy(update={"replay": ReplayConfig(share=0.5)})).rank == 16
    assert choose(found, RECIPE).rank == 8


def test_targets_that_no_matrix_has_are_refused(learner: Student, corpus: LoraCorpus, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no LoRA fits"):
        train_lora(learner, corpus, RECIPE.model_copy(update={"targets": ("nothing",)}), 4, tmp_path)


@pytest.mark.parametrize("name", lora_recipe_names())
def test_every_recipe_can_be_read(name: str) -> None:
    assert load_lora_recipe(name).name == name
