"""What a new dataset version costs: its data, as the base grows from 10 000 problems to a million, and a student on it.

    python -m benchmarks.versioning
    python -m benchmarks.versioning --student    # what a student costs, alone

Its data: v1.1.0 with a thousand new problems.
The bases are written directly as parts, manifest and statement index, as a release of v1.0.0 leaves them: templated
word problems with different statements, a chain each and a wrong one for every other. Their time is printed and is no
part of the cost. In the index, ids, statements and splits are keyed as always; MinHash bands are drawn at random, which
is how those of different statements fall, except for the fifty that new problems resemble: those are computed.

The cost is everything of v1.1.0 but Dagster's own seconds, which do not depend on the base: its recipe, the four
stages, and the measurements of all checks, over the whole version. CPU seconds of a fresh process, imports of libraries
apart (the same for all, they would flatter the ratio; printed), least of several runs in turn.
Target: a base of a million costs at most three times that of ten thousand.

A student: `benchmarks.kept_once`. Target: v1.1.0 = v1.0.0 + 5 % costs at most a tenth of v1.0.0 in extraction, and in
sampling.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.kept_once import measure_kept
from benchmarks.subject import report, temporary_folder
from rjepa.datasets.manifest import build_manifest
from rjepa.datasets.recipe import DatasetRecipe
from rjepa.datasets.registering import import_file
from rjepa.datasets.stages import PROBLEMS, STAGES
from rjepa.datasets.statements import FORMAT, Fingerprints, fingerprint, keep_fingerprints, key
from rjepa.files import sha256_file, write_json
from rjepa.home import Home
from rjepa.problems.splitting import normalise_statement
from rjepa.schemas import ChainOfThought, Problem
from rjepa.stages import StageReport
from rjepa.tables import arrow_schema

SIZES: Final = (10_000, 1_000_000)
NEW: Final = 1_000
NEAR: Final = 50
REPEATS: Final = 3
CREATED: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SPLITS: Final = ("train",) * 8 + ("validation", "test")


STUDENT_TARGETS: Final = {"extraction_tenth_over_ratio": 1.0, "sampling_tenth_over_ratio": 1.0}


def main(student_only: bool = False) -> None:
    """Time both bases in turn, then a student, and print the figures."""
    with temporary_folder() as folder:
        kept = measure_kept(Path(folder) / "kept")
    if student_only:
        report("versioning", kept, STUDENT_TARGETS)
        return
    with temporary_folder() as folder:
        homes = {size: Home(Path(folder) / str(size)) for size in SIZES}
        figures: dict[str, float | str] = {}
        for size, home in homes.items():
            started = time.perf_counter()
            _write_base(home, size)
            _register_new(home)
            figures[f"making_base_{size}_s"] = round(time.perf_counter() - started, 1)
        runs: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
        for _ in range(REPEATS):
            for size, home in homes.items():
                runs[size].append(_grow_in_a_process(home))
        for size in SIZES:
            best = min(runs[size], key=lambda run: run["total"])
            figures |= {f"{part}_s_on_{size}": round(seconds, 3) for part, seconds in best.items()}
        small, large = SIZES
        ratio = float(figures[f"total_s_on_{large}"]) / float(figures[f"total_s_on_{small}"])
        figures["bytes_written_on_1000000"] = _own_bytes(homes[large])
        figures["ratio_1m_to_10k"] = round(ratio, 2)
        figures["three_over_ratio"] = round(3 / ratio, 2)
        report("versioning", {**figures, **kept}, {"three_over_ratio": 1.0, **STUDENT_TARGETS})


def grow(home: Home) -> dict[str, float]:
    """CPU seconds of v1.1.0, by part. Run in a fresh process."""
    from rjepa.datasets.building import build_problems, build_teacher_chains, release_dataset, validate_chains
    from rjepa.datasets.checking import manifest_counts, measure_counts, measure_gaps, measure_verdicts
    from rjepa.datasets.leaks import measure_leaks, measure_seen_tests
    from rjepa.datasets.reading import load_manifest
    from rjepa.datasets.versions import create_version
    from rjepa.sql import open_views

    seconds = {"imports": time.process_time()}
    before = time.process_time()
    recipe = create_version(home, "v1.1.0", parent="v1.0.0", adds=["new"])
    for stage in (build_problems, build_teacher_chains, validate_chains):
        stage(home, recipe)
    release_dataset(home, recipe)
    seconds["stages"] = time.process_time() - before
    between = time.process_time()
    leaks, seen = measure_leaks(home, "v1.1.0"), measure_seen_tests(home, "v1.1.0")
    with open_views(home) as connection:
        gaps, verdicts = measure_gaps(connection, "v1.1.0"), measure_verdicts(connection, "v1.1.0")
        counts = measure_counts(connection, "v1.1.0")
    seconds["checks"] = time.process_time() - between
    seconds["total"] = time.process_time() - before
    manifest = load_manifest(home, "v1.1.0")
    made = manifest["stages"]["problems"]["metadata"]
    assert made["near_duplicates_removed"] == NEAR and manifest["new"]["problems"] == NEW - NEAR, made
    assert not (leaks.examples or seen.found or gaps.without_gold or verdicts.unjudged), leaks.examples
    assert counts == manifest_counts(manifest)
    return seconds


def _grow_in_a_process(home: Home) -> dict[str, float]:
    shutil.rmtree(home.dataset("v1.1.0"), ignore_errors=True)
    (home.registry / "datasets" / "v1.1.0.yaml").unlink(missing_ok=True)
    own = {path.name for path in home.statement_index("x").parent.iterdir()}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.versioning", "--grow", str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    for path in home.statement_index("x").parent.iterdir():
        if path.name not in own:
            path.unlink()
    return json.loads(done.stdout)


def _statement(number: int, other: bool = False) -> str:
    name = "Maria" if other else "Johanna"
    return (
        f"{name} works in a shop that sells {number} apples on the first day of the week and {number + 7} more on every"
        f" other day than on the day before. How many apples does the shop sell on the second day of that week?"
    )


def _write_base(home: Home, size: int) -> None:
    """v1.0.0 as its release leaves it."""
    folder = home.dataset("v1.0.0")
    folder.mkdir(parents=True)
    ids = [f"base-{number}" for number in range(size)]
    statements = [_statement(number) for number in range(size)]
    splits = [_SPLITS[number % 10] for number in range(size)]
    answers = [str(2 * number + 7) for number in range(size)]
    problems = _table(
        Problem,
        size,
        problem_id=ids,
        domain="math",
        source="synthetic",
        difficulty="easy",
        statement=statements,
        answer_gold=answers,
        licence="MIT",
        split=splits,
        meta="{}",
        subdomain="",
    )
    worked = [number for number in range(size) if splits[number] != "test"]
    wrong = worked[::2]
    chains = pa.concat_tables([_chains(worked, answers, True), _chains(wrong, answers, False)])
    files = {}
    for stage, table in zip(STAGES, (problems, chains, chains), strict=True):
        pq.write_table(table, folder / stage.file, compression="zstd", row_group_size=32_768)
        path = folder / stage.file
        files[stage.file] = {"sha256": sha256_file(path), "bytes": path.stat().st_size, "rows": table.num_rows}
    counts = {"train": size * 8 // 10, "validation": size // 10, "test": size // 10}
    recipe = DatasetRecipe(name="v1.0.0", source="curriculum", created=CREATED, counts={"math": counts})
    manifest = build_manifest(recipe, [], [], {s.name: StageReport("0" * 64) for s in STAGES})
    manifest |= {
        "date": CREATED.isoformat(),
        "files": files,
        "parts": {s.name: [{"dataset": "v1.0.0", "file": s.file, **files[s.file]}] for s in STAGES},
        "counts": {
            "problems": size,
            "by_domain": {"math": size},
            "by_difficulty": {"easy": size},
            "by_split": counts,
            "by_domain_and_split": {"math": counts},
        },
        "sources": {"synthetic": size},
        "licences": {"MIT": size},
        "chains": {
            "total": len(worked) + len(wrong),
            "valid": len(worked),
            "worked": {"total": len(worked), "valid": len(worked)},
            "corrupted": {"total": len(wrong), "valid": 0},
            "worked_reasons": {"ok": len(worked)},
            "corrupted_reasons": {"wrong_answer": len(wrong)},
        },
    }
    write_json(folder / "manifest.json", manifest)
    index = home.statement_index(f"{files[PROBLEMS.file]['sha256']}-{FORMAT}")
    keep_fingerprints(index, _fingerprints(ids, statements, splits))


def _fingerprints(ids: list[str], statements: list[str], splits: list[str]) -> Fingerprints:
    near = [_problem(number, statements[number]) for number in range(NEAR)]
    computed = fingerprint(near)
    bands = np.random.default_rng(0).integers(0, 1 << 32, (len(computed.bands), len(ids)), dtype=np.uint32)
    bands[:, :NEAR] = computed.bands
    names = {"train": 0, "validation": 1, "test": 2}
    return Fingerprints(
        np.array([key(problem_id) for problem_id in ids], np.uint64),
        np.array([key(normalise_statement(statement)) for statement in statements], np.uint64),
        np.zeros(len(ids), np.uint64),
        np.array([names[split] for split in splits], np.uint8),
        bands,
    )


def _problem(number: int, statement: str) -> Problem:
    return Problem(problem_id=f"base-{number}", domain="math", source="synthetic", statement=statement, split="train")


def _chains(numbers: list[int], answers: list[str], right: bool) -> pa.Table:
    kind = "gold" if right else "wrong"
    return _table(
        ChainOfThought,
        len(numbers),
        cot_id=[f"base-{n}-{kind}" for n in numbers],
        problem_id=[f"base-{n}" for n in numbers],
        steps=[[f"{n} + {n + 7} = {answers[n]}"] for n in numbers],
        final_answer=[answers[n] if right else "0" for n in numbers],
        is_valid=right,
        validation_reason="ok" if right else "wrong_answer",
        teacher_model="synthetic",
        source="synthetic",
        created_at=CREATED,
        meta="{}" if right else '{"corruption": {}}',
    )


def _table(model: type, size: int, **columns: Any) -> pa.Table:
    """Columns of one value are that value in every row; fields that are not given are null."""
    arrays = []
    for field in arrow_schema(model):
        value = columns.get(field.name)
        if isinstance(value, list):
            arrays.append(pa.array(value, field.type))
        else:
            arrays.append(pa.repeat(pa.scalar(value, field.type), size))
    return pa.table(arrays, schema=arrow_schema(model))


def _register_new(home: Home) -> None:
    """A thousand problems as an import: fifty differ from one of the base by a name alone."""
    near = [
        {"statement": _statement(number, other=True), "answer": str(2 * number + 7), "steps": [_sum(number)]}
        for number in range(NEAR)
    ]
    new = [
        {
            "statement": f"A baker has {n} loaves in the morning and bakes {n + 7} more. How many are there at noon?",
            "answer": str(2 * n + 7),
            "steps": [_sum(n)],
        }
        for n in range(NEW - NEAR)
    ]
    file = home.root / "new.jsonl"
    rows = [row | {"licence": "MIT", "domain": "math"} for row in [*near, *new]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    import_file(home, file, "new")


def _sum(number: int) -> str:
    return f"{number} + {number + 7} = {2 * number + 7}"


def _own_bytes(home: Home) -> int:
    return sum(path.stat().st_size for path in home.dataset("v1.1.0").iterdir())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--grow"]:
        print(json.dumps(grow(Home(Path(sys.argv[2])))))
    else:
        main(student_only=sys.argv[1:2] == ["--student"])
