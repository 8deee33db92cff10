"""Holds the order of the rooms: a file imports only from rooms above its own, or from its own room."""

import ast
from pathlib import Path

PACKAGE = "vlfusion_jax"
ROOT = Path(__file__).resolve().parents[1] / PACKAGE

# Rows from the top; rooms of one row do not know each other.
ROWS = (
    {"core"},
    {"config"},
    {"parallel", "ops", "data", "optim"},
    {"layers"},
    {"models"},
    {"tasks", "convert"},
    {"train", "evals"},
    {"serve", "plan"},
    {"cli"},
)
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}


def imported_rooms(source: str) -> set[str]:
    """Rooms of the package that `source` imports from, inside functions too."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module.split(".")[1] for module in modules if module.startswith(f"{PACKAGE}.")}


def violations(room: str, source: str) -> list[str]:
    return sorted(other for other in imported_rooms(source) - {room} if ROW_OF[other] >= ROW_OF[room])


def test_every_folder_is_a_room():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROW_OF)


def test_files_import_only_from_rows_above():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0]
        if room != "__init__.py":
            wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in violations(room, path.read_text())]
    assert not wrong


def test_package_itself_imports_no_room():
    assert not imported_rooms((ROOT / "__init__.py").read_text())


def test_a_wrong_import_is_found():
    assert violations("train", f"from {PACKAGE}.evals.runner import evaluate") == ["evals"]
    assert violations("core", f"def f():\n    import {PACKAGE}.config.keys") == ["config"]
    assert violations("models", f"from {PACKAGE} import cli, layers") == ["cli"]
    assert violations("train", f"from {PACKAGE}.train.state import TrainState\nimport jax") == []


def test_orbax_stays_behind_one_file():
    users = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if "orbax" in path.read_text()]
    assert users == ["train/checkpoint.py"]
