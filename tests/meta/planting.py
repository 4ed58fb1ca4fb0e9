"""A bug, planted for a moment: one line of one function, changed in place.

A mutant names a file, a piece of its text that occurs exactly once, and what stands there instead.
The file is compiled with the change, and the code of the one function it falls into is put into the
function that is running: its globals, its callers and every reference to it stay what they are.

>>> from refimpl.kv.blocks import BlockPool
>>> wrong = Mutant("round_down", "block pool", "refimpl/kv/blocks.py",
...                "return -(-n_tokens // self.block_size)", "return n_tokens // self.block_size",
...                "doctest refimpl.kv.blocks")
>>> pool = BlockPool(n_blocks=8, block_size=4)
>>> with planted(wrong):
...     pool.blocks_for(5)
1
>>> pool.blocks_for(5)
2
"""

import ast
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """`caught_by` is a check of the suite (`conform L2/rope`), a test, or a module's doctest."""

    name: str
    mechanism: str
    file: str
    old: str
    new: str
    caught_by: str


def sources(mutant: Mutant) -> tuple[str, str]:
    """The file's text without and with the bug."""
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.old) == 1, (
        f"{mutant.name}: its line occurs {text.count(mutant.old)} times in {mutant.file}; "
        "the code has changed, so change the mutant"
    )
    return text, text.replace(mutant.old, mutant.new)


def place(text: str, old: str) -> list[str]:
    """The function that a piece of text falls into: [name] or [class, name]."""
    first = text[: text.index(old)].count("\n") + 1
    last = first + old.strip("\n").count("\n")
    names, scope = [], ast.parse(text).body
    while True:
        inside = [
            node
            for node in scope
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and node.lineno <= last <= (node.end_lineno or 0)
        ]
        if not inside:
            raise AssertionError(f"no function holds {old!r}")
        names.append(inside[0].name)
        if isinstance(inside[0], ast.FunctionDef):
            return names
        scope = inside[0].body


def code_at(code: CodeType, names: list[str]) -> CodeType:
    """The code of a function inside that of its module."""
    for name in names:
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
    return code


def function_at(module: object, names: list[str]) -> FunctionType:
    """The function itself, under whatever wraps it: a property, a cache, a type check."""
    found = module
    for name in names:
        found = vars(found)[name]
    for wrapper in ("fget", "func", "__func__"):
        found = getattr(found, wrapper, found)
    function = inspect.unwrap(found)
    assert isinstance(function, FunctionType)
    return function


@cache
def prepared(mutant: Mutant) -> tuple[FunctionType, CodeType]:
    """The function to change, and its code with the bug."""
    text, wrong = sources(mutant)
    module = import_module(mutant.file.removesuffix(".py").replace("/", "."))
    names = place(text, mutant.old)
    function = function_at(module, names)
    code = code_at(compile(wrong, mutant.file, "exec", dont_inherit=True), names)
    assert code.co_freevars == function.__code__.co_freevars
    return function, code


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Within, the function has the bug."""
    function, wrong = prepared(mutant)
    right = function.__code__
    forget(function)
    function.__code__ = wrong
    try:
        yield
    finally:
        function.__code__ = right
        forget(function)


def forget(function: FunctionType) -> None:
    """Nothing that the module remembers may outlive the change."""
    for value in list(function.__globals__.values()):
        if callable(clear := getattr(value, "cache_clear", None)) and not isinstance(value, type):
            clear()
