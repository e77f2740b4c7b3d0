"""The layer rule: definitions → defs → lib; groups never import each other; numerical modules touch nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mappool_assets.definitions import GROUPS

PACKAGE = Path(__file__).parents[1] / "mappool_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Modules of lib that work on arrays and values alone. What they may import of the package besides each other: errors.
NUMERICAL = {
    "classifiers",
    "curation/balance",
    "curation/exact_sums",
    "curation/keyed_draws",
    "curation/lint",
    "curation/plan_tables",
    "curation/plan_tallies",
    "curation/second_pass",
    "curation/spacing",
    "curation/wanted_t",
    "curation/wiki_markup",
    "curation/words",
    "curation/xml_events",
    "decision",
    "device_classifier",
    "evaluation",
    "errors",
    "duplicates/edges",
    "duplicates/hash_neighbours",
    "duplicates/look_alikes",
    "duplicates/representatives",
    "geo_subset/best_prompts",
    "perceptual_hash",
    "places/country_names",
    "places/place",
    "places/place_filter",
    "places/prompts",
    "places/wanted_columns",
    "plots",
    "retrieval/exact_scan",
    "retrieval/kmeans",
    "retrieval/rotation",
    "retrieval/row_similarity",
    "retrieval/filter_language",
    "retrieval/filter_tree",
    "retrieval/metadata_filter",
    "retrieval/top_k",
    "row_blocks",
    "row_rules",
    "screen",
    "screen_audit",
    "screen_calibration",
    "training_set_rules",
    "vectors",
    "web_documents/clip_tokens",
    "web_documents/interleaved",
    "web_documents/item",
    "web_documents/tokens",
    "web_documents/windows",
}


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """Yield every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(is_forbidden, paths):
    return sorted({(name_of(path), module) for path in paths for module in imports_of(path) if is_forbidden(module)})


def below(*parts):
    return [path for path in MODULES if PACKAGE.joinpath(*parts) in (path, *path.parents)]


def test_lib_knows_nothing_of_dagster_nor_of_the_layers_above():
    above = ("dagster", *(f"mappool_assets.{name}" for name in ("defs", "definitions", "cli", "demo")))
    assert len(below("lib")) > 20
    assert offenders(lambda module: module.startswith(above), below("lib")) == []


def test_defs_do_not_import_what_assembles_them():
    above = ("mappool_assets.definitions", "mappool_assets.cli", "mappool_assets.demo")
    assert offenders(lambda module: module.startswith(above), below("defs")) == []


def test_groups_never_import_each_other():
    groups = [module.__name__.rpartition(".")[2] for module in GROUPS]
    assert len(groups) == 4
    for group in groups:
        others = tuple(f"mappool_assets.defs.{other}" for other in groups if other != group)
        assert offenders(lambda module, others=others: module.startswith(others), below("defs", group)) == []


def test_numerical_modules_import_none_that_touch_the_world():
    allowed = {f"mappool_assets.lib.{name.replace('/', '.')}" for name in NUMERICAL}
    paths = [PACKAGE / "lib" / f"{name}.py" for name in NUMERICAL]

    def is_forbidden(module):
        if not module.startswith("mappool_assets") or module == "mappool_assets.lib":
            return False
        return not any(module == name or module.startswith(f"{name}.") for name in allowed)

    assert is_forbidden("mappool_assets.lib.lake")
    assert not is_forbidden("mappool_assets.lib.errors.BadModel")
    assert offenders(is_forbidden, paths) == []


@pytest.mark.parametrize("path", below("lib"), ids=name_of)
def test_lib_reads_no_environment_no_wall_clock_and_no_global_random_state(path):
    text = path.read_text(encoding="utf-8")
    clocks = ("time.time(", "datetime.today(", "datetime.now(")
    for forbidden in ("os.environ", "os.getenv", *clocks, "np.random.seed", "random.seed("):
        assert forbidden not in text


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_pickled(path):
    text = path.read_text(encoding="utf-8")
    for forbidden in ("import pickle", "import joblib", "allow_pickle=True", "torch.load("):
        assert forbidden not in text


def test_sql_is_run_by_the_lake_alone():
    importers = {name for name, _ in offenders(lambda module: module.split(".")[0] == "duckdb", MODULES)}
    assert importers == {"mappool_assets.lib.lake_sql"}


def test_loading_the_definitions_loads_no_heavy_package():
    heavy = (
        "torch",
        "open_clip",
        "sklearn",
        "sklearnex",
        "matplotlib",
        "datasets",
        "pandas",
        "duckdb",
        "img2dataset",
        "numba",
        "nltk",
    )
    code = f"import sys, mappool_assets.definitions; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert found.stderr == ""
