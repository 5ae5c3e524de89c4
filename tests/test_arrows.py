"""Rooms point one way: whoever reads a room needs to know those below it, never those above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {
    "storage": set(),
    "data": {"storage"},
    "models": {"storage"},
    "reports": {"storage"},
    "study": {"storage", "data", "models"},
}
# Only the command line ties search, comparison and report together.
ABOVE = {"study/run.py": {"reports"}}


def imported_rooms(file: Path) -> set[str]:
    """The rooms that a file imports, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{file}: a relative import hides which room it is of"
            found.add(node.module.split(".")[0])
    return found & {*BELOW, "tests"}


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_those_below_it_alone(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, "or the room has moved"
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        allowed = {room} | BELOW[room] | ABOVE.get(name, set())
        assert imported_rooms(file) <= allowed, f"{name} imports {imported_rooms(file) - allowed}"
