"""A program: an async function whose first argument is a text, and the ways to run one.

    @program
    async def advise(p: State, topic: str) -> int: ...

    await advise(p, "sleep")                          as a part of another program, on its text
    await advise.run(engine, "sleep")                 by itself
    await run_batch([advise.on(t) for t in topics], engine, concurrency=8)
    run_sync(engine, advise.on("sleep"))              without asyncio

However a program ends, nothing of it goes on: branches, streams and requests end with it, and their
memory is free or cached.  An error comes out as one `ProgramError`.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, runtime_checkable

from refimpl.errors import InputError
from refimpl.lang.ask import Executor
from refimpl.lang.faults import ProgramError, blame
from refimpl.lang.handles import Handle
from refimpl.lang.state import State
from refimpl.lang.together import together, within

P = ParamSpec("P")
R = TypeVar("R")
Real = float | int


class Program(Generic[P, R]):
    """A function of a text and other arguments."""

    def __init__(self, function: Callable[Concatenate[State, P], Coroutine[Any, Any, R]]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.code: CodeType = function.__code__

    def __call__(self, p: State, *args: P.args, **named: P.kwargs) -> Coroutine[Any, Any, R]:
        """As a part of another program: what it says is said on that program's text."""
        return self.function(p, *args, **named)

    def on(self, *args: P.args, **named: P.kwargs) -> "Job[R]":
        """The program with its arguments, to be run later."""
        return Job(name=self.name, code=self.code, begin=lambda p: self.function(p, *args, **named))

    async def run(self, engine: Executor, *args: P.args, **named: P.kwargs) -> "Done[R]":
        return await self.on(*args, **named).run(engine)


def program(function: Callable[Concatenate[State, P], Coroutine[Any, Any, R]]) -> Program[P, R]:
    """Make a program of an async function."""
    if not inspect.iscoroutinefunction(function):
        raise InputError(f"{function!r} is no `async def`, so it cannot wait for a model")
    return Program(function)


@dataclass(frozen=True, kw_only=True)
class Done(Generic[R]):
    """A program that has ended: what it returned, and its text with all handles."""

    result: R
    state: State = field(repr=False)

    def __getitem__(self, name: str) -> str:
        return self.state[name]

    def handle(self, name: str) -> Handle:
        return self.state.handle(name)

    @property
    def text(self) -> str:
        return self.state.text


@dataclass(frozen=True, kw_only=True)
class Job(Generic[R]):
    """A program and its arguments."""

    name: str
    code: CodeType
    begin: Callable[[State], Coroutine[Any, Any, R]]

    async def run(
        self,
        engine: Executor,
        *,
        timeout: Real | None = None,
        seed: int = 0,
        path: tuple[int, ...] = (),
    ) -> Done[R]:
        """Run it to its end, within `timeout` seconds if that is given."""
        state = State(engine, path=path, seed=seed)
        try:
            return Done(result=await within(timeout, self.begin(state)), state=state)
        except ProgramError:
            raise
        except Exception as error:
            raise blame(self.name, self.code, error) from error
        finally:
            await state.close()


async def run_batch(
    jobs: Iterable[Job[R]],
    engine: Executor,
    *,
    concurrency: int = 16,
    timeout: Real | None = None,
    seed: int = 0,
    return_errors: bool = False,
) -> list[Any]:
    """Run many programs, at most `concurrency` at a time; results in the order of the jobs.

    The first error ends all of them, unless `return_errors` asks for the errors as results.  Job i
    draws its own numbers, the same in every batch it stands in i-th.
    """
    if concurrency < 1:
        raise InputError(f"a concurrency of {concurrency} runs nothing")
    left: Iterator[tuple[int, Job[R]]] = enumerate(jobs)
    results: dict[int, Any] = {}

    async def work() -> None:
        for i, job in left:
            try:
                results[i] = await job.run(engine, timeout=timeout, seed=seed, path=(i,))
            except ProgramError as error:
                if not return_errors:
                    raise
                results[i] = error

    await together(work() for _ in range(concurrency))
    return [results[i] for i in sorted(results)]


@runtime_checkable
class Enterable(Executor, AbstractAsyncContextManager[Executor, bool | None], Protocol):
    """An executor that is entered before it is asked."""


def run_sync(
    engine: Enterable,
    jobs: Job[R] | Iterable[Job[R]],
    *,
    timeout: Real | None = None,
    concurrency: int = 16,
    seed: int = 0,
) -> Any:
    """Run one program or many from code that is not async: enter the engine, run, leave it."""

    async def inside() -> Any:
        async with engine:
            if isinstance(jobs, Job):
                return await jobs.run(engine, timeout=timeout, seed=seed)
            return await run_batch(
                jobs, engine, concurrency=concurrency, timeout=timeout, seed=seed
            )

    if is_looping():
        raise InputError("an event loop is running here: `await job.run(engine)` instead")
    return asyncio.run(inside())


def is_looping() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
