"""Three small things that asyncio has not: a group whose error is one error, a time limit that says
how long it was, and a task that is over when it was told to stop.

>>> async def double(n):
...     return 2 * n
>>> asyncio.run(together([double(1), double(2)]))
[2, 4]
>>> asyncio.run(within(0.01, asyncio.sleep(9)))
Traceback (most recent call last):
TimeoutError: not done within 0.01 s
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All at the same time; the results in order.  The first error cancels the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as several:
        raise_first(several)
    return [task.result() for task in tasks]


def raise_first(several: BaseExceptionGroup[BaseException]) -> NoReturn:
    """The first error to happen, by itself: the others came of cancelling."""
    first = several.exceptions[0]
    raise first from first.__cause__


async def within(seconds: float | int | None, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, or an error that says how long it was given."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise TimeoutError(f"not done within {seconds} s") from error
        raise


async def stop(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it is over, however it ends."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not complain that nobody did
