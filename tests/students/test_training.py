"""A student is rebuilt from its recipe, and a killed training goes on where it was."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from rjepa.configs import CONFIGS, config_names
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.students.catalog import StudentRecord, save_record
from rjepa.students.corpus import IGNORED, Corpus, batches_from
from rjepa.students.recipe import StudentRecipe, load_student_recipe
from rjepa.students.resolving import resolve_student
from rjepa.students.stage import resolve_and_record
from rjepa.students.tokenizer import train_tokenizer
from rjepa.students.training import add_layers, load_trained, remove_layers, train_student

pytestmark = pytest.mark.slow

RECIPE = StudentRecipe(
    name="tiny-test",
    architecture="llama",
    model={"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "num_attention_heads": 2},
    vocab_size=400,
    mixture={"math": 0.5, "logic": 0.5},
    difficulty_weights=(1, 0, 0),
    updates=12,
    batch_size=4,
    warmup_updates=2,
    checkpoint_every=4,
)


class _Killed(Exception):
    pass


def _stop_at(update: int):
    def progress(done: int, total: int, note: str = "") -> None:
        if done == update:
            raise _Killed

    return progress


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums over several threads are not reproducible to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_student(RECIPE, tmp_path_factory.mktemp("whole") / "student")


def test_the_finished_folder_loads_and_writes_text(trained: Path) -> None:
    model, tokenizer = load_trained(trained)
    prompt = tokenizer("How many eggs does Tom have?\n", return_tensors="pt")
    written = model.generate(prompt["input_ids"], max_new_tokens=5, do_sample=False)
    assert written.shape[1] > prompt["input_ids"].shape[1]


def test_resumed_training_equals_uninterrupted(trained: Path, tmp_path: Path) -> None:
    for update in (3, 6, 11):
        with pytest.raises(_Killed):
            train_student(RECIPE, tmp_path / "student", _stop_at(update))
    resumed = load_file(train_student(RECIPE, tmp_path / "student") / "model.safetensors")
    whole = load_file(trained / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [path.name for path in tmp_path.iterdir()] == ["student"], "the checkpoint is removed at the end"


def test_a_killed_process_leaves_a_checkpoint_that_the_next_one_continues(trained: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from rjepa.students.recipe import StudentRecipe\n"
        "from rjepa.students.training import train_student\n"
        "recipe = StudentRecipe.model_validate_json(sys.argv[1])\n"
        "train_student(recipe, Path(sys.argv[2]), lambda done, total, note: done == 9 and time.sleep(60))\n"
    )
    out = tmp_path / "student"
    process = subprocess.Popen([sys.executable, "-c", script, RECIPE.model_dump_json(), str(out)])
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        checkpoints = list(tmp_path.glob(".student-training-*/checkpoint/progress.json"))
        if checkpoints and '"updates": 8' in checkpoints[0].read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    first: list[int] = []
    train_student(RECIPE, out, lambda done, total, note="": first.append(done))
    assert first[0] == 9, "the eight finished updates were not repeated"
    whole, resumed = load_file(trained / "model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_other_processes_write_the_same_batches_in_the_same_order() -> None:
    words = train_tokenizer(["a b c"], 400)
    alone, ahead = (batches_from(RECIPE, words, 11, workers) for workers in (0, 2))
    for _ in range(12):
        one, two = next(alone), next(ahead)
        assert all(torch.equal(one[name], two[name]) for name in ("input_ids", "labels"))
    ahead.close()


def test_only_chain_tokens_are_learnt_and_each_batch_depends_on_its_number_alone() -> None:
    corpus = Corpus(RECIPE)
    tokenizer = train_tokenizer((text.prompt + text.chain for text in corpus.texts(200, "tokenizer")), 400)
    again = Corpus(RECIPE).batches(tokenizer, 3)
    for batch, repeated in zip(corpus.batches(tokenizer, 3), again, strict=True):
        assert torch.equal(batch["input_ids"], repeated["input_ids"])
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            learnt = tokenizer.decode(ids[labels != IGNORED])
            assert learnt.startswith("Step 1:") and learnt.endswith(tokenizer.eos_token)


def test_digits_are_single_tokens_and_any_text_survives(trained: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained, local_files_only=True)
    assert [tokenizer.decode([token]).strip() for token in tokenizer("2026")["input_ids"]] == list("2026")
    for text in ("żółć 木 🙂\n\tx  y", "Tom has 14 apples.\nStep 1: 3 * 4 = 12"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("name", config_names(CONFIGS / "students" / "recipes"))
def test_the_recipes_of_the_bundled_students_can_be_read(name: str) -> None:
    recipe = load_student_recipe(name)
    assert recipe.name == name
    assert recipe.model or recipe.start_from


def test_a_recipe_goes_on_from_another_ones_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rjepa.students.training.load_student_recipe", {"tiny-test": RECIPE}.__getitem__)
    second = RECIPE.model_copy(update={"name": "second", "start_from": "tiny-test", "model": {}, "updates": 2})
    totals: list[int] = []
    folder = train_student(second, tmp_path / "student", lambda done, total, note="": totals.append(total))
    assert totals == [12] * 12 + [2] * 2
    model, tokenizer = load_trained(folder)
    assert model.config.hidden_size == 16 and len(tokenizer) <= 400


def test_the_student_stage_trains_a_recipe_once_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rjepa.students.stage.load_student_recipe", {"tiny-test": RECIPE}.__getitem__)
    home = Home(tmp_path)
    record = StudentRecord(llm_tag="mine", model="recipe:tiny-test")
    save_record(home, record)
    with pytest.raises(NotFoundError, match="rjepa backfill --llm mine"):
        resolve_student(home, record)
    updates: list[int] = []
    first = resolve_and_record(home, "mine", lambda done, total, note="": updates.append(total))
    assert updates[:12] == [12] * 12
    assert resolve_and_record(home, "mine").data_version == first.data_version
    assert resolve_student(home, record).fingerprint == first.data_version


def test_added_layers_change_nothing_until_they_are_trained_and_then_do(trained: Path, tmp_path: Path) -> None:
    model, tokenizer = load_trained(trained)
    ids = tokenizer("How many eggs does Tom have?\n", return_tensors="pt")["input_ids"]
    before = model(ids).logits
    add_layers(model, 2)
    assert torch.equal(model(ids).logits, before)
    model.save_pretrained(tmp_path / "deeper")
    tokenizer.save_pretrained(tmp_path / "deeper")
    reloaded, _ = load_trained(tmp_path / "deeper")
    assert reloaded.config.num_hidden_layers == 4 and torch.equal(reloaded(ids).logits, before)
    model.zero_grad()
    model(ids, labels=ids).loss.backward()
    assert all(layer.mlp.down_proj.weight.grad.abs().max() > 0 for layer in model.model.layers)


def test_removed_layers_leave_the_model_that_never_had_them(trained: Path, tmp_path: Path) -> None:
    model, tokenizer = load_trained(trained)
    ids = tokenizer("How many eggs does Tom have?\n", return_tensors="pt")["input_ids"]
    before = model(ids).logits
    add_layers(model, 2)
    torch.nn.init.normal_(model.model.layers[1].mlp.down_proj.weight)
    assert not torch.allclose(model(ids).logits, before)
    remove_layers(model, (1, 2))
    assert torch.equal(model(ids).logits, before)
    model.save_pretrained(tmp_path / "cut")
    tokenizer.save_pretrained(tmp_path / "cut")
    reloaded, _ = load_trained(tmp_path / "cut")
    assert reloaded.config.num_hidden_layers == 2 and torch.equal(reloaded(ids).logits, before)
    with pytest.raises(InvalidInputError, match="do not fit a model of 2 layers"):
        remove_layers(model, (2,))
    with pytest.raises(InvalidInputError, match="keep at least one"):
        remove_layers(model, (0, 1))


def test_difficulties_may_differ_by_domain_and_none_may_be_forgotten() -> None:
    by_domain = RECIPE.model_dump() | {"difficulty_weights": {"math": (1, 0, 0), "logic": (0, 0, 1)}}
    recipe = StudentRecipe.model_validate(by_domain)
    assert (recipe.weights_of("math"), recipe.weights_of("logic")) == ((1, 0, 0), (0, 0, 1))
    with pytest.raises(ValueError, match="no entry for logic"):
        StudentRecipe.model_validate(RECIPE.model_dump() | {"difficulty_weights": {"math": (1, 0, 0)}})
    with pytest.raises(ValueError, match="removed_layers need start_from"):
        StudentRecipe.model_validate(RECIPE.model_dump() | {"added_layers": 1})
