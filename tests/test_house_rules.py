"""House rules that a machine can hold: who imports whom, what is never called, what assets and errors carry."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import dagster as dg
import pytest

from rjepa_assets.definitions import build_defs
from tests.plant_bugs import BUGS, table

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("rjepa", "rjepa_assets", "serving")
HEAVY = ("torch", "transformers", "polars", "scipy", "matplotlib")


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or "", node.lineno


def offences(package: str, banned: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for name, line in imports(path)
        if name.split(".")[0] in banned
    ]


@pytest.mark.parametrize(
    ("package", "banned"),
    [
        ("rjepa", ("dagster", "fastapi", "starlette", "uvicorn", "rjepa_assets", "serving")),
        ("serving", ("dagster", "rjepa_assets")),
        ("rjepa_assets", ("fastapi", "starlette", "serving")),
    ],
)
def test_no_package_names_what_it_must_not_know(package: str, banned: tuple[str, ...]) -> None:
    assert offences(package, banned) == []


def modules_after_importing(modules: list[str], then: str = "") -> set[str]:
    """Top-level names in a fresh process that has imported these modules, and run one line more."""
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"{then}\n"
        "print('\\n'.join(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env={**os.environ}, check=True
    )
    return set(done.stdout.split())


def module_names(package: str) -> list[str]:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources(package)]
    return [name.removesuffix(".__init__") for name in names]


def test_importing_all_of_the_library_loads_neither_dagster_nor_fastapi() -> None:
    loaded = modules_after_importing(module_names("rjepa"))
    assert "torch" in loaded
    assert loaded.isdisjoint({"dagster", "fastapi", "starlette"})


def test_dagster_loads_the_graph_without_loading_torch() -> None:
    modules = ["rjepa_assets.definitions", "rjepa_assets.instance", "rjepa_assets.launching"]
    # The modules of defs/ are imported when the graph is gathered, not before.
    loaded = modules_after_importing(modules, "sys.modules['rjepa_assets.definitions'].build_defs()")
    assert "dagster" in loaded and "duckdb" in loaded
    assert loaded.isdisjoint({"torch", "transformers", "scipy", "sympy", "matplotlib", "pyarrow"})


def test_the_command_line_loads_nothing_heavy_before_a_verb_runs() -> None:
    modules = [name for name in module_names("rjepa") + module_names("rjepa_assets") if ".cli." in name]
    loaded = modules_after_importing(modules)
    assert loaded.isdisjoint({*HEAVY, "dagster", "fastapi"})


FORBIDDEN = {
    "pickle": re.compile(r"^\s*(import|from) (pickle|cPickle|dill|joblib|cloudpickle|shelve)\b", re.MULTILINE),
    "torch.load": re.compile(r"\btorch\.load\("),
    "allow_pickle": re.compile(r"allow_pickle\s*=\s*True"),
    "trust_remote_code": re.compile(r"trust_remote_code\s*=\s*True"),
    "shell=True": re.compile(r"shell\s*=\s*True"),
    "unfinished": re.compile(r"\b(TODO|FIXME|NotImplementedError)\b"),
}


@pytest.mark.parametrize("rule", sorted(FORBIDDEN))
def test_nothing_unsafe_or_unfinished_is_written(rule: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for package in PACKAGES
        for path in sources(package)
        for match in FORBIDDEN[rule].finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_error_is_raised_with_a_cure() -> None:
    classes = {"RjepaError"}
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for package in PACKAGES for path in sources(package)}
    for _ in range(4):  # subclasses of subclasses
        for tree in trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and {getattr(base, "id", "") for base in node.bases} & classes:
                    classes.add(node.name)
    raised = [
        (path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes
    ]
    assert len(raised) > 30
    without = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, node in raised
        if "cure" not in {keyword.arg for keyword in node.keywords}
    ]
    assert without == []


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    declared = {re.split(r"[\[<>=~! ]", name)[0].lower().replace("_", "-") for name in wanted}
    distributions = packages_distributions()
    missing = set()
    for package in PACKAGES:
        for path in sources(package):
            for name, line in imports(path):
                top = name.split(".")[0]
                if top in PACKAGES or top in sys.stdlib_module_names or top == "__future__":
                    continue
                owners = {owner.lower().replace("_", "-") for owner in distributions.get(top, [top])}
                if not owners & declared:
                    missing.add(f"{path.relative_to(ROOT)}:{line} imports {top}")
    assert sorted(missing) == []


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    names = {re.split(r"[\[<>=~! ]", name)[0].lower().replace("_", "-") for name in wanted}
    assert names - pins == set()


def test_asset_modules_keep_their_annotations() -> None:
    """Dagster reads the context's annotation, and refuses one that is a string."""
    future = "from __future__ import annotations"
    assert [str(path) for path in sources("rjepa_assets") if future in path.read_text(encoding="utf-8")] == []


def test_every_asset_has_group_owner_description_and_kinds() -> None:
    specs = build_defs().resolve_all_asset_specs()
    assert len(specs) == 24
    for spec in specs:
        name = spec.key.to_user_string()
        assert spec.group_name not in (None, "default"), name
        assert spec.owners, name
        assert spec.description and spec.description.splitlines()[0].endswith("."), name
        assert spec.kinds, name


def test_every_check_has_a_description_and_the_partitions_of_its_asset() -> None:
    defs = build_defs()
    graph = defs.resolve_asset_graph()
    assert len(graph.asset_check_keys) >= 8
    for checks in defs.asset_checks or []:
        assert isinstance(checks, dg.AssetChecksDefinition)
        for spec in checks.check_specs:
            assert spec.description, spec.name
            assert spec.partitions_def == graph.get(spec.asset_key).partitions_def, spec.name


def test_every_planted_bug_is_one_place_of_the_code_and_a_test_that_is_there() -> None:
    for bug in BUGS:
        assert (ROOT / bug.file).read_text(encoding="utf-8").count(bug.right) == 1, bug.name
        file, _, test = bug.test.partition("::")
        assert f"def {test.partition('[')[0]}" in (ROOT / file).read_text(encoding="utf-8"), bug.name
    assert table() in (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")))
def test_a_benchmark_finds_everything_that_it_imports(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_the_readme_shows_every_asset_and_lists_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    graph = readme.partition("```mermaid")[2].partition("```")[0]
    assert {spec.key.to_user_string() for spec in build_defs().resolve_all_asset_specs()} <= set(
        re.findall(r"\w+", graph)
    )
    assert [page.name for page in sorted((ROOT / "docs").glob("*.md")) if f"(docs/{page.name})" not in readme] == []
