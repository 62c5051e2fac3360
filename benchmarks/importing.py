"""Importing files of problems: rows a second against a loop that only parses, memory at 100 000 and 1 000 000 rows.

`python -m benchmarks.importing`. Each import runs in a process of its own, with its own CPU seconds and peak memory.
An import checks every field, normalises text, hashes statements for ids, splits and repeats, and writes the registry's
file; the baseline does nothing but parse.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FEW, MANY = 100_000, 1_000_000
TARGETS = {
    "jsonl_memory_flatness": 1 / 1.2,
    "parquet_memory_flatness": 1 / 1.2,
    "jsonl_rows_per_cpu_second": 10_000.0,
    "parquet_rows_per_cpu_second": 10_000.0,
}
"""Memory at 1 000 000 rows is at most 1.2 times that at 100 000; 1 000 000 rows take less than two minutes."""


def main() -> None:
    """Measure and report."""
    from benchmarks.subject import report, temporary_folder  # loads torch, which the measured processes must not

    figures: dict[str, float | str] = {}
    with temporary_folder() as folder:
        for kind in ("jsonl", "parquet"):
            peaks = {}
            for rows in (FEW, MANY):
                path = Path(folder) / f"rows-{rows}.{kind}"
                _write(path, kind, rows)
                seconds, peaks[rows] = _alone("import", path)
                if rows == MANY:
                    parsing, _ = _alone("parse", path)
                    figures[f"{kind}_rows_per_cpu_second"] = round(rows / seconds)
                    figures[f"{kind}_share_of_parsing_alone"] = round(parsing / seconds, 4)
                path.unlink()
            figures[f"{kind}_peak_megabytes_{FEW}"] = round(peaks[FEW], 1)
            figures[f"{kind}_peak_megabytes_{MANY}"] = round(peaks[MANY], 1)
            figures[f"{kind}_memory_flatness"] = round(peaks[FEW] / peaks[MANY], 4)
    report("importing", figures, TARGETS)


def _write(path: Path, kind: str, rows: int) -> None:
    """Word problems with two steps each, no two alike."""
    if kind == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            for number in range(rows):
                file.write(json.dumps(_row(number)) + "\n")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.Table.from_pylist([_row(0)]).schema
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 50_000):
            table = pa.Table.from_pylist([_row(n) for n in range(start, min(start + 50_000, rows))], schema=schema)
            writer.write_table(table)


def _row(number: int) -> dict[str, object]:
    first, second = number % 997, number // 997
    return {
        "statement": f"Mia has {first} pens and gets {second} more, then gives away 3. How many has she now?",
        "answer": str(first + second - 3),
        "steps": [f"{first} + {second} = {first + second}", f"{first + second} - 3 = {first + second - 3}"],
        "licence": "CC0-1.0",
    }


def _alone(work: str, path: Path) -> tuple[float, float]:
    """CPU seconds and peak megabytes of one work in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.importing", work, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["megabytes"]


def _work(work: str, path: Path) -> None:
    started = time.process_time()
    if work == "import":
        from rjepa.datasets.registering import import_file
        from rjepa.home import Home

        with tempfile.TemporaryDirectory(prefix="rjepa-benchmark-") as folder:
            import_file(Home(Path(folder)), path, "measured")
    elif path.suffix == ".jsonl":
        with path.open("rb") as file:
            for line in file:
                json.loads(line)
    else:
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches():
            batch.to_pylist()
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "megabytes": _peak_megabytes()}))


def _peak_megabytes() -> float:
    """Of this process since it began. `ru_maxrss` would begin with that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _work(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
