"""Imports point down: a file may import its own package and those listed before it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# `ops` needs one thing from formats, what a weight is: quants/block.py imports nothing but errors.
ORDER = [
    "errors",
    "formats.quants",
    "ops",
    "formats",
    "text",
    "sampling",
    "model",
    "kv",
    "grammar",
    "backend",
    "offload",
    "engine",
    "lang",
    "oracle",
    "commands",
]
FILES = sorted((ROOT / "refimpl").rglob("*.py"))
LIGHT = {"__future__", "click", "importlib", "typing"}


def imports(path):
    """Every module a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def package(module):
    """The entry of ORDER a module belongs to."""
    name = module.removeprefix("refimpl").removeprefix(".")
    if name in ("", "__version__"):
        return None
    return max((p for p in ORDER if name == p or name.startswith(f"{p}.")), key=len)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = package(module)
    for name in imports(path):
        assert name.split(".")[0] not in ("backends", "tests", "cli"), f"{path} imports {name}"
        if name.startswith("refimpl") and package(name):
            assert own is None or ORDER.index(package(name)) <= ORDER.index(own), (
                f"{module} imports {name}, which stands above it"
            )


def test_the_command_line_imports_only_click_before_a_command_runs():
    tree = ast.parse((ROOT / "cli.py").read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [
        n.name if isinstance(node, ast.Import) else node.module for node in top for n in node.names
    ]
    heavy = {
        n for n in names if n.split(".")[0] not in LIGHT and n not in ("refimpl", "refimpl.errors")
    }
    assert not heavy


def test_no_file_is_too_long_to_read_in_one_sitting():
    """About 300 lines; a data table may be longer."""
    long = {
        str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long
