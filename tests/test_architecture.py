"""The house rules that a reader relies on: imports point one way, the music is pure, one border a matter."""

import ast
from pathlib import Path

import pytest

import tasks

ROOT = Path(__file__).parent.parent
FLOORS = ("catalog", "tasks", "flows")  # each may import from itself and from those before it
IMPURE = {
    "os",
    "pathlib",
    "shutil",
    "sqlite3",
    "duckdb",
    "prefect",
    "distributed",
    "dask",
    "av",
    "soundfile",
    "catalog",
}
MODULES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]


def read_imports(path: Path) -> set[str]:
    """The full names of the modules that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def read_roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in read_imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_from_flows_to_tasks_to_catalog(path):
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    assert not read_roots(path) & set(FLOORS[floor + 1 :])


@pytest.mark.parametrize("path", sorted((ROOT / "tasks/music").glob("*.py")), ids=lambda path: path.name)
def test_music_is_pure(path):
    assert not read_roots(path) & IMPURE
    assert not [name for name in read_imports(path) if name.startswith("tasks.models")]


def test_only_the_audio_border_opens_audio():
    product = [path for path in MODULES if "training" not in path.parts]
    openers = {path.relative_to(ROOT).as_posix() for path in product if read_roots(path) & {"av", "soundfile"}}
    assert openers == {"tasks/audio.py"}


def test_workers_need_no_prefect():
    users = {path.relative_to(ROOT).as_posix() for path in MODULES if "prefect" in read_roots(path)}
    assert {user for user in users if not user.startswith("flows/")} <= {"tasks/ingest.py", "tasks/nightly.py"}


def test_only_the_settings_read_the_environment():
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES
        if any(word in path.read_text(encoding="utf-8") for word in ("os.getenv", "environ[", "environ.get"))
    }
    assert readers <= {"flows/settings.py"}


def test_the_package_tasks_is_ours():
    assert Path(tasks.__file__).parent == ROOT / "tasks"


def test_the_lock_names_no_place_to_load_from():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-") or " @ " in line]
