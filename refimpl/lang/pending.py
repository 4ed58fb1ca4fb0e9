"""The task that drives the engine: between two steps programs run, during a step nobody does.

    programs   ask ask .. (await)             | ask (await)              |
    driver       settle, enlist, step ........ deliver, settle, enlist, step .......

One asyncio task calls `engine.step()`, inline and not in a thread.  A step is what everybody waits
for anyway, and so requests enter and leave the engine only between steps: which requests share a
step, and with it every count, is a function of the programs and not of a race.  The price is that
the event loop stands still for a step; a time limit or a cancellation takes effect after it.  (A
front end that must go on answering meanwhile keeps the engine in a process of its own.)

Whoever stops waiting, by cancellation or time limit, takes his request out at once: its blocks are
free before the error travels on.

`settle` lets the programs run until they have asked what they can ask now, so that the branches of
a fork arrive together: a handful of turns of the event loop, since a branch that ends wakes its
fork, which wakes its program, which asks.
"""

import asyncio
from copy import copy

from refimpl.engine.core import Engine
from refimpl.engine.request import Finish, Request
from refimpl.engine.step import Output
from refimpl.errors import RefimplError
from refimpl.lang.ask import Listener
from refimpl.lang.families import families
from refimpl.lang.faults import StoppedError
from refimpl.lang.together import stop

TURNS = 12
"""How often the event loop goes round before a step: twice for each fork in a fork, and a rest."""


class Pending:
    """A request that somebody waits for."""

    def __init__(self, request: Request, listener: Listener | None = None) -> None:
        self.request = request
        self.listener = listener
        self.text = ""
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def hear(self, output: Output) -> None:
        self.text += output.text
        try:
            if self.listener is not None:
                self.listener(output.text)
        except Exception as error:  # the program's own mistake, not the engine's
            self.listener = None
            self.fail(error)
        if output.finish is not None:
            self.end(output.finish)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def end(self, finish: Finish) -> None:
        if finish is Finish.ERROR and self.request.error is not None:
            self.fail(self.request.error)
        elif not self.done.done():
            self.done.set_result(self.text)


class Driver:
    """Steps an engine while anybody waits for it."""

    def __init__(self, engine: Engine, *, share_prompts: bool = True) -> None:
        self.engine = engine
        self.share_prompts = share_prompts
        self.arrivals: list[Pending] = []
        self.pending: dict[str, Pending] = {}
        self.woken: asyncio.Event | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.task is not None:
            raise StoppedError("the engine is entered already: share it instead")
        self.woken = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self.drive())

    async def leave(self) -> None:
        """Stop driving.  Whoever still waits gets an error, and the engine is empty."""
        task, self.task = self.task, None
        if task is not None:
            await stop(task)
        self.abandon(None)

    async def ask(self, request: Request, listener: Listener | None = None) -> str:
        """The text that comes of a request; the record of it is the request."""
        if self.task is None or self.task.done() or self.woken is None:
            raise StoppedError("the engine does not run: `async with engine:` around the programs")
        pending = Pending(request, listener)
        self.arrivals.append(pending)
        self.woken.set()
        try:
            return await pending.done
        finally:
            self.forget(pending)

    def forget(self, pending: Pending) -> None:
        """Nobody waits for it any more: take it out, wherever it is."""
        if pending in self.arrivals:
            self.arrivals.remove(pending)
        elif self.pending.pop(pending.request.id, None):
            self.take_out(pending)

    def take_out(self, pending: Pending) -> None:
        if pending.request.id in self.engine.scheduler.ids:
            self.engine.abort(pending.request.id)

    async def drive(self) -> None:
        assert self.woken is not None
        while True:
            await self.woken.wait()
            self.woken.clear()
            try:
                await self.serve()
            except Exception as error:  # the engine itself is at fault, not one request
                self.abandon(error)

    async def serve(self) -> None:
        """Step until nobody is left."""
        while True:
            await self.settle()
            self.enlist()
            self.deliver(self.engine.scheduler.take_news())
            if self.engine.is_idle and not self.arrivals:
                return
            self.deliver(self.engine.step())

    async def settle(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def enlist(self) -> None:
        """Hand the arrivals to the engine; one that is refused has its error."""
        arrived, self.arrivals = self.arrivals, []
        self.pending |= {pending.request.id: pending for pending in arrived}
        requests = [pending.request for pending in arrived]
        largest = self.engine.scheduler.limits.max_seqs if self.share_prompts else 1
        for head in families(requests, largest=largest):
            family = [head, *head.unborn]
            try:
                self.engine.add(head)
            except RefimplError as error:
                for request in family:
                    request.error = copy(error)  # each branch notes on its own who it is
                    self.pending.pop(request.id).fail(request.error)

    def deliver(self, outputs: list[Output]) -> None:
        for output in outputs:
            pending = self.pending.get(output.request.id)
            if pending is not None:
                if output.finish is not None:
                    del self.pending[output.request.id]
                pending.hear(output)

    def abandon(self, error: Exception | None) -> None:
        """Everybody who waits is told why, and the engine is emptied."""
        why = "was left while it was being asked"
        if error is not None:
            why = f"broke down: {type(error).__name__}: {error}"
        waiting = [*self.arrivals, *self.pending.values()]
        self.arrivals, self.pending = [], {}
        for pending in waiting:
            told = StoppedError(f"the engine {why}")
            told.__cause__ = error
            pending.fail(told)
        for pending in waiting:
            self.take_out(pending)
        self.engine.scheduler.take_news()
