"""A home with a tiny student that was taught one-step additions for a few seconds, and a release made from it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rjepa.adapters.adapter import Adapter
from rjepa.chains import render_chain
from rjepa.evaluation.records import EvaluationRecord, write_record
from rjepa.files import sha256_file, write_json
from rjepa.home import Home
from rjepa.inference.aggregate import FEATURES, chain_features
from rjepa.inference.calibrating import fit_calibration
from rjepa.inference.scoring import segment_energies
from rjepa.inference.surprise import fit_step_quantiles
from rjepa.inference.table import CandidateTable
from rjepa.inference.voting import answer_ids
from rjepa.jepa.checkpoint import save_model
from rjepa.jepa.config import EncoderConfig, JepaConfig, PredictorConfig
from rjepa.jepa.model import build_model
from rjepa.jepa.reader import Reader
from rjepa.latents.normalizer import fit_normalizer, save_normalizer
from rjepa.latents.sets import LatentSet
from rjepa.parts import PartSource, adapter_part, reranking_parts
from rjepa.reasoning.candidates import join_latents, make_candidates
from rjepa.releases.bundle import Diagnosis, Facts, Manifest, describe_content
from rjepa.releases.publish import release
from rjepa.students.catalog import StudentRecord, save_record
from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student, load_student, resolve_student
from tests.records import make_record
from tests.students import tiny

TAG = "tiny-test"
STATEMENT = "Mia has 3 apples and buys 4 more. How many apples does Mia have?"


def addition(rng: random.Random) -> tuple[str, str, str]:
    """Statement, chain text and answer of one problem."""
    first, second = rng.randint(1, 5), rng.randint(1, 4)
    statement = f"Mia has {first} apples and buys {second} more. How many apples does Mia have?"
    total = first + second
    steps = [f"Mia has {first} + {second} = {total}", f"so {total} apples"]
    return statement, render_chain(steps, str(total)), str(total)


def teach(folder: Path, head_dim: int = 8) -> None:
    """A tiny student in `folder` that writes steps, and is right now and then."""
    words = tiny.tokenizer()
    model = tiny.model("qwen3", len(words), head_dim=head_dim)
    rng = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    generator_state = torch.get_rng_state()
    for _ in range(120):
        pairs = [addition(rng) for _ in range(16)]
        rows = [words(f"{statement}\n{chain}")["input_ids"] + [words.eos_token_id] for statement, chain, _ in pairs]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [words.eos_token_id] * (longest - len(row)) for row in rows])
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    torch.set_rng_state(generator_state)
    words.save_pretrained(folder)
    model.save_pretrained(folder)


def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The taught student's folder, made once a run: teaching takes seconds."""
    folder = tmp_path_factory.getbasetemp() / "taught-student"
    if not folder.exists():
        teach(folder)
    return folder


def register_student(home: Home, folder: Path) -> Student:
    """Register the student of a folder in `home`, and load it."""
    record = tiny.record(folder, llm_tag=TAG)
    save_record(home, record)
    return load_student(resolve_student(home, record), device="cpu")


def move_to_endpoint(home: Home, record: StudentRecord, url: str, served_model: str | None = None) -> None:
    """From now on a server writes the chains of a registered student."""
    (home.registry / "students" / f"{record.llm_tag}.yaml").unlink()
    save_record(home, record.model_copy(update={"endpoint": url, "served_model": served_model}))


def publish(
    home: Home,
    student: Student,
    sources: Path,
    seed: int = 0,
    dataset: str = "v1.0.0",
    carry: Callable[[LatentSet], Adapter] | None = None,
) -> str:
    """Release an untrained R-JEPA (initial weights of `seed`) with a calibration fitted on real candidates.

    Args:
        carry: makes an adapter to the student's latents, through which the R-JEPA then reads; `adapt` in
            `tests.carried_release` is one.
    """
    rng = random.Random(1)
    problems = [addition(rng) for _ in range(24)]
    rows = sample_chains(student, [statement for statement, _, _ in problems], num_candidates=8, seed=0)
    latents = join_latents([chain for row in rows for chain in row])
    adapter = None if carry is None else carry(latents)
    read = latents.latents if adapter is None else adapter.read(latents.latents).astype(np.float16)
    normalizer = fit_normalizer(replace(latents, latents=read, prompts=None, prompt_of=None))
    config = JepaConfig(
        name="tiny", seed=seed, encoder=EncoderConfig(width=16, depth=1), predictor=PredictorConfig(width=8, depth=1)
    )
    reader = Reader.of(config, normalizer, adapter)
    model = build_model(config, normalizer.width, ("math",))
    sources.mkdir(parents=True, exist_ok=True)
    save_model(sources, model)
    write_json(sources / "config.json", config.model_dump(mode="json"))
    save_normalizer(sources / "normalizer.safetensors", normalizer)
    energies = segment_energies(model, reader, latents)
    candidates = [make_candidates(row) for row in rows]
    flat = chain_features([candidate for row in candidates for candidate in row], energies)
    answers = [[candidate.final_answer for candidate in row] for row in candidates]
    correct = np.array([[answer == p[2] for answer in row] for row, p in zip(answers, problems, strict=True)])
    features = {name: flat[name].reshape(len(problems), 8) for name in FEATURES}
    table = CandidateTable(features, answer_ids(answers))
    calibration = fit_calibration(table, correct, minimum_mixed=1)
    steps = fit_step_quantiles(np.concatenate(energies).astype(np.float64))
    calibration.model_copy(update={"step_quantiles": steps}).save(sources / "calibration.json")
    parts = reranking_parts(sources, sources / "normalizer.safetensors", sources / "calibration.json")
    if adapter is not None:
        hashes = sha256_file(sources / "model.safetensors"), sha256_file(sources / "normalizer.safetensors")
        adapter = bound(adapter, student.fingerprint, hashes)
        adapter.save(sources / "adapter")
        parts = (*parts, adapter_part(sources / "adapter"))
    carried = None if adapter is None else adapter.facts
    facts = Facts("d" * 64, student.fingerprint, Diagnosis(passed=True), "test", carried=carried)
    return release_parts(home, student.record.llm_tag, dataset, parts, facts)


def bound(adapter: Adapter, fingerprint: str, hashes: tuple[str, str]) -> Adapter:
    """The adapter for the target of this fingerprint, and the R-JEPA whose model and normaliser have these hashes."""
    target = adapter.facts.target.model_copy(update={"fingerprint": fingerprint})
    known = {"target": target, "model_sha256": hashes[0], "normalizer_sha256": hashes[1]}
    return replace(adapter, facts=adapter.facts.model_copy(update=known))


def release_parts(home: Home, llm_tag: str, dataset: str, parts: Sequence[PartSource], facts: Facts) -> str:
    """Release parts that were right on every other of 1 000 problems, as every release before them."""
    right = [number % 2 == 0 for number in range(1000)]
    record = make_record(describe_content(llm_tag, dataset, parts, facts), right, dataset=dataset)
    write_record(home, record)

    def judge(current: Manifest) -> EvaluationRecord:
        return make_record(current, right, dataset=dataset)

    return release(home, llm_tag, dataset, parts, facts, challenger=record, judge=judge).manifest.release_id
