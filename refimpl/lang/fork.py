"""A fork: branches that begin with the same text and go on at the same time.

    async with p.fork(["tea", "sleep"]) as fork:      # or p.fork(3)
        fork.each(advise)                             # advise(branch, item), for every branch
    p += fork.join("\\n")                             # what each wrote, in the branches' order

It is a task group (structured concurrency): the block ends when every branch has.  The first error
cancels the siblings, waits until they have given back their memory, and is raised; cancelling the
block cancels all of them.  Results stand in the order of the items, whoever was first.

What the branches share is computed once and copied nowhere: the engine finds it in its cache, or
forks one request into several where their prompts are equal (`refimpl.lang.families`).

Source: SGLang's fork and join; PEP 654 and `asyncio.TaskGroup` for the errors.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from refimpl.errors import InputError
from refimpl.lang.together import raise_first, within

if TYPE_CHECKING:
    from refimpl.lang.state import State


class Fork:
    """Branches, and the tasks that work on them."""

    def __init__(
        self, branches: "list[State]", items: list[Any], *, timeout: float | int | None = None
    ) -> None:
        self.branches = branches
        self.items = items
        self.timeout = timeout
        self.marks = [branch.said.mark for branch in branches]
        self.group = asyncio.TaskGroup()
        self.tasks: dict[int, asyncio.Task[Any]] = {}

    async def __aenter__(self) -> "Fork":
        await self.group.__aenter__()
        return self

    def each(self, work: Callable[..., Coroutine[Any, Any, Any]], *more: Any) -> None:
        """Begin `work(branch, item, *more)` on every branch."""
        for i, (branch, item) in enumerate(zip(self.branches, self.items, strict=True)):
            self.start(i, work(branch, item, *more))

    def start(self, i: int, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begin something on branch i, whose result will stand in place i."""
        if i in self.tasks:
            work.close()
            raise InputError(f"branch {i} is at work already")
        self.tasks[i] = self.group.create_task(self.limited(i, work))
        self.tasks[i].add_done_callback(lambda _: work.close())  # cancelled before it began
        return self.tasks[i]

    async def limited(self, i: int, work: Coroutine[Any, Any, Any]) -> Any:
        """The work on branch i, within its time; an error notes which branch it comes from."""
        try:
            return await within(self.timeout, work)
        except Exception as error:
            error.add_note(f"in branch {i}")
            raise
        finally:
            await self.branches[i].close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for all; of several errors the first to happen is raised, by itself."""
        try:
            await self.group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as several:
            if error is not None and error in several.exceptions:
                raise error from error.__cause__
            raise_first(several)
        finally:
            for branch in self.branches:
                await branch.close()

    # What came of it.

    @property
    def results(self) -> list[Any]:
        """What the work on each branch returned, in order; None for a branch without work."""
        done = [self.tasks.get(i) for i in range(len(self.branches))]
        return [None if task is None else task.result() for task in done]

    def __getitem__(self, name: str) -> list[str]:
        """What each branch generated under a name, in order."""
        return [branch[name] for branch in self.branches]

    def join(self, separator: str = "") -> str:
        """What each branch added to the text, in order."""
        pairs = zip(self.branches, self.marks, strict=True)
        return separator.join(branch.said.since(mark) for branch, mark in pairs)

    def __iter__(self) -> "Iterator[State]":
        return iter(self.branches)

    def __len__(self) -> int:
        return len(self.branches)
