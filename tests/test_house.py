"""The rules of the house, held by the syntax tree: where SQL stands, and how long things grow."""

import ast
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = tuple(sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]))

SQL_BUILDERS: Final = frozenset({"select", "insert", "update", "delete", "text", "exists", "union"})
SESSION_CALLS: Final = frozenset(
    {"execute", "scalar", "scalars", "get", "get_one", "query", "stream", "exec_driver_sql"}
)
SESSION_NAMES: Final = frozenset({"session", "_session", "connection", "reading", "writing"})
# The ground: it opens connections and sessions, and asks nothing about any concept.
GROUND: Final = frozenset({"app/database/engine.py", "app/database/migrate.py"})

FUNCTION_P95, FUNCTION_MOST = 45, 80
FILE_P95, FILE_MOST = 330, 500
ROUTE_MOST: Final = 25
CLASS_MOST: Final = 260

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, Function):
            yield node


def _length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _body_length(function: Function) -> int:
    """The lines below the signature: a route's parameters are its form, not its work."""
    assert function.end_lineno is not None
    return function.end_lineno - function.body[0].lineno + 1


def _p95(values: list[int]) -> int:
    return sorted(values)[math.ceil(len(values) * 0.95) - 1]


def _sql_in(path: Path) -> Iterator[str]:
    tree = _tree(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            for alias in node.names:
                if alias.name in SQL_BUILDERS:
                    yield f"{_name(path)}:{node.lineno} imports {alias.name}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            owner_name = getattr(owner, "id", getattr(owner, "attr", ""))
            if owner_name in SESSION_NAMES and node.func.attr in SESSION_CALLS:
                yield f"{_name(path)}:{node.lineno} calls {owner_name}.{node.func.attr}"


def test_sql_stands_in_repositories_only() -> None:
    found = [
        finding
        for path in SOURCES
        if path.name != "repository.py" and _name(path) not in GROUND
        for finding in _sql_in(path)
    ]
    assert not found, "\n".join(found)
    assert list(_sql_in(ROOT / "app" / "projects" / "repository.py")), "the check sees nothing"


def test_functions_stay_short() -> None:
    lengths: list[int] = []
    too_long = []
    for path in SOURCES:
        for function in _functions(path):
            lengths.append(_length(function))
            if lengths[-1] > FUNCTION_MOST:
                too_long.append(f"{_name(path)}:{function.lineno} {function.name}: {lengths[-1]}")
    assert not too_long, "\n".join(too_long)
    assert _p95(lengths) <= FUNCTION_P95


def test_classes_stay_short() -> None:
    too_long = [
        f"{_name(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= CLASS_MOST
    ]
    assert not too_long, "\n".join(too_long)


def test_files_stay_short() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {name: length for name, length in lengths.items() if length > FILE_MOST}
    assert _p95(list(lengths.values())) <= FILE_P95


def test_routes_only_parse_call_and_answer() -> None:
    too_long = [
        f"{_name(path)}:{function.lineno} {function.name}: {_body_length(function)}"
        for path in (ROOT / "app" / "web" / "pages").glob("*.py")
        for function in _functions(path)
        if any("router" in ast.unparse(decorator) for decorator in function.decorator_list)
        and _body_length(function) > ROUTE_MOST
    ]
    assert not too_long, "\n".join(too_long)


def test_packages_say_nothing_when_imported() -> None:
    folders = ("app", "worker", "tests", "migrations")
    files = [path for folder in folders for path in (ROOT / folder).rglob("__init__.py")]
    assert files
    assert not [_name(path) for path in files if path.read_text(encoding="utf-8").strip()]


def test_remote_code_is_never_trusted() -> None:
    settings = [
        (f"{_name(path)}:{node.value.lineno}", node.value)
        for path in SOURCES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code"
    ]
    assert settings, "the check sees nothing"
    trusting = [
        place
        for place, value in settings
        if not (isinstance(value, ast.Constant) and value.value is False)
    ]
    assert not trusting, "\n".join(trusting)
