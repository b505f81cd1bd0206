"""Imports go one way, the plan is pure, and only the settings read the environment."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memoryhub.settings import BASE_DIR

APPS = ("memoryhub", "blocks", "syncjobs")  # each may import those before it
# Where the apps come together, and what speaks to people of the whole product.
EXCEPTED = {"memoryhub/urls.py", "memoryhub/asgi.py"}
SETTINGS = {"memoryhub/settings.py", "memoryhub/environment.py"}
# A process is started with the PATH of this one; and a command that was told the name of a variable.
OTHERS = {"memoryhub/management/commands/start.py", "syncjobs/management/commands/setup_project.py"}


def modules(app: str) -> list[Path]:
    return sorted(path for path in (BASE_DIR / app).rglob("*.py") if "migrations" not in path.parts)


def name_of(path: Path) -> str:
    return path.relative_to(BASE_DIR).as_posix()


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("app", APPS)
def test_imports_go_one_way(app: str) -> None:
    later = APPS[APPS.index(app) + 1 :]
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in modules(app)
        if name_of(path) not in EXCEPTED
        for name in imported(path)
        if name.split(".")[0] in later
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["plan", "merge"])
def test_the_plan_is_pure(name: str) -> None:
    assert not_standard(f"syncjobs/{name}.py") <= {"syncjobs.plan", "syncjobs.merge", "blocks.merge"}


@pytest.mark.parametrize("name", ["merge", "diff"])
def test_the_merge_of_texts_is_pure(name: str) -> None:
    """The plan uses it, and so do pages of `blocks`, which may not import `syncjobs`."""
    assert not_standard(f"blocks/{name}.py") <= {"blocks.diff"}


def not_standard(name: str) -> set[str]:
    return {n for n in imported(BASE_DIR / name) if n.split(".")[0] not in sys.stdlib_module_names}


def test_the_states_are_pure() -> None:
    assert {name.split(".")[0] for name in imported(BASE_DIR / "blocks/state.py")} <= sys.stdlib_module_names


def reads_environment(path: Path) -> bool:
    """Whether one variable is asked for; handing all of them on to another program is no reading."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _is_environ(node.value) and isinstance(node.ctx, ast.Load):
            return True
        if isinstance(node, ast.Attribute) and (
            node.attr == "getenv" or (_is_environ(node.value) and node.attr != "setdefault")
        ):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os" and {"environ", "getenv"} & _names(node):
            return True
    return False


def _is_environ(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def _names(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


def test_only_the_settings_read_the_environment() -> None:
    readers = {name_of(path) for app in APPS for path in modules(app) if reads_environment(path)}
    assert readers <= SETTINGS | OTHERS
