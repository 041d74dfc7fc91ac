"""The list of what may happen names tests that are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
ROW = re.compile(r"^\| (\d+\w?) \|.*\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def rows(title: str) -> dict[str, str]:
    section = DOCUMENT.read_text(encoding="utf-8").split(f"## {title}\n", 1)[1].split("\n## ")[0]
    return {found[1]: found[0] for found in ROW.finditer(section)}


@pytest.mark.parametrize(("title", "count"), [("Faults", 25), ("Attacks", 23)])
def test_every_row_is_held_by_tests_that_exist(title: str, count: int) -> None:
    found = rows(title)
    assert set(found) >= {str(number) for number in range(1, count + 1)}
    for number, row in found.items():
        named = TEST.findall(row)
        assert named, f"nothing holds row {number}"
        for file, name in named:
            assert name in names_in(ROOT / file), f"{file} has no {name}"
