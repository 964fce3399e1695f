"""The tree itself: tests mirror it, nothing dangerous stands in it, and importing it starts nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = sorted(path for package in ("tokenhub", "blueprints") for path in (ROOT / package).rglob("*.py"))

TESTED_ELSEWHERE = {
    "blueprints/__init__.py": "tests/e2e/test_front.py",
    "blueprints/services.py": "tests/e2e/test_front.py",
    "blueprints/chat/decisions.py": "tests/e2e/test_workers.py",
    "tokenhub/config_values.py": "tests/unit/test_config.py",
    "tokenhub/domain/ports.py": "tests/unit/storage/test_database.py",
    "tokenhub/errors.py": "tests/unit/blueprints/test_errors.py",
    "tokenhub/providers/connections.py": "tests/hostile/test_transport.py",
    "tokenhub/providers/exchange.py": "tests/hostile/test_transport.py",
    "tokenhub/providers/framing.py": "tests/hostile/test_transport.py",
    "tokenhub/runtime/sealing.py": "tests/unit/runtime/test_boot.py",
    "tokenhub/runtime/stores.py": "tests/unit/runtime/test_boot.py",
    "tokenhub/runtime/wiring.py": "tests/e2e/test_workers.py",
    "tokenhub/services/account.py": "tests/unit/services/test_chat.py",
    "tokenhub/services/dispatch.py": "tests/unit/services/test_chat.py",
    "tokenhub/state/coordination.py": "tests/contract/test_state.py",
    "tokenhub/state/key_table.py": "tests/contract/test_state.py",
    "tokenhub/state/ledger.py": "tests/contract/test_state.py",
    "tokenhub/state/sqlite_file.py": "tests/unit/state/test_sqlite.py",
}
"""Modules whose tests are not at their mirror place: parts that are only tried together, and where that is done."""

MAY_READ_THE_ENVIRONMENT = {"tokenhub/config.py", "tokenhub/__init__.py"}

BANNED_CALLS = {"eval", "exec", "compile", "__import__", "render_template_string", "os.system", "os.popen", "yaml.load"}
BANNED_MODULES = {"pickle", "marshal", "shelve", "subprocess", "yaml"}
ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.putenv"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def has_logic(path: Path) -> bool:
    """Whether any function does more than to raise nothing and return nothing (as a Protocol's do)."""
    functions = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.FunctionDef, ast.Lambda))
    ]
    return any(
        isinstance(function, ast.Lambda)
        or any(
            not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            for statement in function.body
        )
        for function in functions
    )


def mirror_of(path: Path) -> Path:
    """Where a module's unit tests are: tokenhub/a/b.py -> tests/unit/a/test_b.py, blueprints/ keeps its name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    folders = parts[1:-1] if parts[0] == "tokenhub" else parts[:-1]
    return ROOT.joinpath("tests", "unit", *folders, f"test_{parts[-1]}.py")


def names_used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every dotted name and every imported one, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"


def names_called(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def dangers(source: str) -> list[str]:
    """What a server module must not use: code made of data, other programs."""
    tree = ast.parse(source)
    called = [f"{line}: {name}()" for line, name in names_called(tree) if name in BANNED_CALLS]
    imported = [f"{line}: {name}" for line, name in names_used(tree) if name.split(".")[0] in BANNED_MODULES]
    rendered = [f"{line}: {name}" for line, name in names_used(tree) if name == "flask.render_template_string"]
    return called + imported + rendered


def environment_reads(source: str) -> list[str]:
    return [f"{line}: {name}" for line, name in names_used(ast.parse(source)) if name in ENVIRONMENT]


def test_the_tree_is_found():
    assert {"tokenhub/errors.py", "blueprints/errors.py"} <= {name_of(path) for path in SERVER}


def test_every_module_with_logic_has_its_unit_tests():
    missing = {
        name_of(path): name_of(mirror_of(path))
        for path in SERVER
        if has_logic(path) and not has_tests(path) and name_of(path) not in TESTED_ELSEWHERE
    }
    assert not missing, "\n".join(f"{module}: no {tests}" for module, tests in missing.items())


def has_tests(path: Path) -> bool:
    """A package's own `__init__` is covered by any test file of its folder."""
    mirror = mirror_of(path)
    return any(mirror.parent.glob("test_*.py")) if path.name == "__init__.py" else mirror.exists()


def test_the_exceptions_from_the_mirror_are_still_needed():
    for name, tests in TESTED_ELSEWHERE.items():
        assert (ROOT / name).exists() and (ROOT / tests).exists() and not mirror_of(ROOT / name).exists(), name


@pytest.mark.parametrize("path", SERVER, ids=name_of)
def test_no_module_runs_data_as_code_or_starts_a_program(path):
    assert not dangers(path.read_text())


@pytest.mark.parametrize("path", SERVER, ids=name_of)
def test_only_the_settings_read_the_environment(path):
    if name_of(path) in MAY_READ_THE_ENVIRONMENT:
        return
    assert not environment_reads(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from subprocess import run",
        "eval('1')",
        "from flask import render_template_string",
        "import flask\nflask.render_template_string('x')",
        "import yaml\nyaml.load(x)",
        "import os\nos.system('x')",
    ],
)
def test_dangers_are_recognised(source):
    assert dangers(source)


@pytest.mark.parametrize("source", ["import os\nos.environ['A']", "from os import environ", "import os\nos.getenv('')"])
def test_reads_of_the_environment_are_recognised(source):
    assert environment_reads(source)


IMPORT_EVERYTHING = """
import importlib, os, pkgutil, socket, sys, threading
import tokenhub

def refuse(*args, **kwargs):
    raise AssertionError("a connection at import")

socket.socket.connect = refuse
names = [module.name for module in pkgutil.walk_packages(tokenhub.__path__, "tokenhub.")]
for name in names:
    importlib.import_module(name)
assert len(names) > 20, names
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
assert len(os.listdir("/proc/self/task")) == 1, "a thread that Python does not know of"
import gevent.monkey
assert not gevent.monkey.is_module_patched("threading"), "patched by an import"
assert "prometheus_client" not in sys.modules, "imported before its folder is set"
"""


def test_importing_every_module_starts_no_thread_and_opens_no_connection():
    command = [sys.executable, "-c", IMPORT_EVERYTHING]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
