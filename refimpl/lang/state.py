"""The `p` of a program: the text so far, what was generated under which name, and who is asked.

    p += "text"                     write
    p.system(...), p.user(...)      speak in a role; the turn stays open, `p +=` adds to it
    p.assistant(...)                begin the answer in the model's place
    await p.gen("name", ...)        let the model go on (in a chat: in the assistant's turn)
    await p.select([...], "name")   let the model choose how the text goes on
    p.stream("name", ...)           `gen`, piece by piece
    p.fork(n or items)              several texts that begin with this one (`refimpl.lang.fork`)
    p["name"], p.handle("name")     what was generated: the text, the whole record

One text grows at one end, so one thing is asked of it at a time; a second is refused (`BusyError`).
Sampling is greedy unless a temperature is given.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict, TypeVar, Unpack, overload

from refimpl.errors import InputError
from refimpl.lang.ask import Ask, Executor, Listener, draw_of
from refimpl.lang.choices import Method, decide
from refimpl.lang.faults import BusyError, StoppedError
from refimpl.lang.fork import Fork
from refimpl.lang.handles import Choice, Gen, Handle, Reply
from refimpl.lang.shapes import json_schema
from refimpl.lang.together import stop
from refimpl.lang.transcript import Role, Transcript
from refimpl.lang.values import read

T = TypeVar("T")
H = TypeVar("H", bound=Handle)
Real = float | int


class Asked(TypedDict, total=False):
    """What `gen` and `stream` may be asked for, besides a schema."""

    max_tokens: int
    stop: str | Iterable[str]
    temperature: Real
    top_p: Real
    regex: str
    choices: Iterable[str]
    listener: Listener | None


class State:
    """One text and its makers: the program, which writes, and the engine, which goes on."""

    def __init__(self, engine: Executor, *, path: tuple[int, ...] = (), seed: int = 0) -> None:
        self.engine = engine
        self.path = path  # the places of the batch and of the forks that led here
        self.seed = seed
        self.said = Transcript()
        self.handles: dict[str, Handle] = {}
        self.n_forks = 0
        self.is_over = False
        self.asker: asyncio.Task[Any] | None = None  # who waits for the model
        self.streams: list[asyncio.Task[Any]] = []

    # What the program says.

    def __iadd__(self, text: str | Handle) -> "State":
        if not isinstance(text, str | Handle):
            raise InputError(f"p += {text!r}: only text is written; use str(...)")
        self.said.write(str(text))
        return self

    def system(self, text: str = "") -> None:
        self.speak("system", text)

    def user(self, text: str = "") -> None:
        self.speak("user", text)

    def assistant(self, text: str = "") -> None:
        self.speak("assistant", text)

    def speak(self, role: Role, text: str) -> None:
        self.said.begin(role)
        self.said.write(text)

    # What the model says.

    @overload
    async def gen(self, name: str = ..., *, schema: type[T], **asked: Unpack[Asked]) -> Gen[T]: ...
    @overload
    async def gen(
        self, name: str = ..., *, schema: Mapping[str, Any] | bool, **asked: Unpack[Asked]
    ) -> Gen[Any]: ...
    @overload
    async def gen(
        self, name: str = ..., *, schema: None = ..., **asked: Unpack[Asked]
    ) -> Gen[str]: ...

    async def gen(self, name: str = "", *, schema: Any = None, **asked: Unpack[Asked]) -> Gen[Any]:
        """Let the model go on.  `schema` is a dataclass, a pydantic model or a JSON Schema."""
        listener = asked.pop("listener", None)
        ask = self.ask(schema, asked)
        with self.asking():
            reply = await self.engine.generate(self.said, ask, listener)
        value = reply.text if schema is None else read(schema, reply.text)
        self.said.answer(reply.text, reply.ids)
        made: Gen[Any] = Gen(**common(name, reply), value=value)
        return self.remember(made)

    def ask(self, schema: Any, asked: Asked) -> Ask:
        given: dict[str, Any] = dict(asked)
        stop = given.pop("stop", ())
        return Ask(
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            choices=tuple(given.pop("choices", ())),
            schema=None if schema is None else json_schema(schema),
            seed=self.seed,
            draw=draw_of(self.path),
            **given,
        )

    async def select(
        self, options: Sequence[str], name: str = "", *, method: Method = "token_length"
    ) -> Choice:
        """Let the model choose among options; the chosen one is written."""
        if not options or not all(options):
            raise InputError("select needs options, and none of them empty")
        with self.asking():
            scored = await self.engine.score(
                self.said, options, unconditional=method == "unconditional"
            )
        decision = decide(method, [one.score for one in scored])
        reply = scored[decision.index].reply
        self.said.answer(reply.text, reply.ids)
        return self.remember(
            Choice(**common(name, reply), index=decision.index, scores=decision.scores)
        )

    async def stream(
        self, name: str = "", *, schema: Any = None, **asked: Unpack[Asked]
    ) -> AsyncIterator[str]:
        """`gen`, whose text comes in pieces; when they end, `p.handle(name)` is there."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        asked["listener"] = pieces.put_nowait
        task = asyncio.ensure_future(self.gen(name, schema=schema, **asked))
        task.add_done_callback(lambda _: pieces.put_nowait(None))
        self.streams.append(task)
        try:
            while (piece := await pieces.get()) is not None:
                if piece:
                    yield piece
            await task
        finally:
            await stop(task)
            self.streams.remove(task)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """One thing at a time; in a chat it is the assistant who speaks."""
        if self.is_over:
            raise StoppedError("this program is over: nothing more can be asked of its text")
        if self.asker is not None:
            raise BusyError("the model is still going on with this text: await it, or fork")
        if self.said.is_chat and self.said.open.role != "assistant":
            self.said.begin("assistant")
        self.asker = asyncio.current_task()
        try:
            yield
        finally:
            self.asker = None

    def remember(self, handle: H) -> H:
        if handle.name:
            self.handles[handle.name] = handle
        return handle

    # What was said.

    def __getitem__(self, name: str) -> str:
        return self.handle(name).text

    def handle(self, name: str) -> Handle:
        if name not in self.handles:
            known = ", ".join(self.handles) or "nothing yet"
            raise InputError(f"nothing was generated under the name {name!r}; there is {known}")
        return self.handles[name]

    @property
    def text(self) -> str:
        return self.said.text

    # Branches.

    def fork(self, items: int | Iterable[Any], *, timeout: Real | None = None) -> Fork:
        """Branches, one for each item (or n of them); each may take `timeout` seconds."""
        things = list(range(items)) if isinstance(items, int) else list(items)
        self.n_forks += 1
        branches = [self.branch((*self.path, self.n_forks, i)) for i in range(len(things))]
        return Fork(branches, things, timeout=timeout)

    def branch(self, path: tuple[int, ...]) -> "State":
        branch = State(self.engine, path=path, seed=self.seed)
        branch.said = self.said.copy()
        branch.handles = dict(self.handles)
        return branch

    async def close(self) -> None:
        """Nothing more may be asked, and nothing is left running."""
        self.is_over = True
        for task in [*self.streams, self.asker]:
            if task is not None and task is not asyncio.current_task():
                await stop(task)


def common(name: str, reply: Reply) -> dict[str, Any]:
    """What every handle has of a reply."""
    return {
        "name": name,
        "text": reply.text,
        "tokens": reply.tokens,
        "finish": reply.finish,
        "n_prompt": reply.n_prompt,
        "n_cached": reply.n_cached,
    }
