"""A server that speaks OpenAI's protocol, as programs see it.

    async with Remote("http://localhost:8000/v1", model="m", dialect="vllm") as engine:
        await advise.run(engine, "sleep")

Forks are concurrent requests; whether their beginning is shared is the server's business, and what
it says about that is in the handles (`n_cached`).  What the protocol cannot say is refused by name:
a constraint the dialect does not have, `select` inside a chat.

A server that does not answer, or stops in the middle, is a `ServerGoneError`; one that refuses, a
`ServerError` with its own words.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from refimpl.errors import InputError, UnsupportedError
from refimpl.lang.ask import Ask, Listener, Scored
from refimpl.lang.dialects import DIALECTS, Body
from refimpl.lang.faults import ServerError, ServerGoneError, StoppedError
from refimpl.lang.handles import Reply, Token
from refimpl.lang.together import together
from refimpl.lang.transcript import Transcript
from refimpl.lang.wire import Gathered, body_of, cached_of, echo_of, echoed, number, option_score

if TYPE_CHECKING:
    import httpx


class Remote:
    """A client of one server and one model on it."""

    def __init__(
        self,
        url: str,
        *,
        model: str = "default",
        key: str | None = None,
        dialect: str = "openai",
        timeout: float | int = 60.0,
        template: Mapping[str, Any] | None = None,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        if dialect not in DIALECTS:
            raise InputError(f"no dialect {dialect!r}: use one of {', '.join(DIALECTS)}")
        self.url = url.rstrip("/")
        self.model = model
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.dialect = DIALECTS[dialect]
        self.timeout = timeout
        self.template = dict(template or {})
        self.transport = transport
        self.client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> "Remote":
        try:
            import httpx
        except ImportError:
            raise UnsupportedError(
                "talking to a server needs httpx: pip install 'refimpl[client]'"
            ) from None
        if self.client is not None:
            raise StoppedError("the client is entered already: share it instead")
        self.client = httpx.AsyncClient(
            headers=self.headers, timeout=self.timeout, transport=self.transport
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.aclose()

    # What programs ask.

    async def generate(self, said: Transcript, ask: Ask, listener: Listener | None = None) -> Reply:
        path = "/chat/completions" if said.is_chat else "/completions"
        body = body_of(said, ask, self.dialect, self.template)
        gathered = Gathered()
        if listener is None:
            gathered.add(await self.post(path, body))
        else:
            async for piece in self.events(path, body):
                listener(gathered.add(piece))
            if not gathered.finish:
                raise ServerGoneError(f"{self.url} stopped in the middle of an answer: ask again")
        return gathered.reply

    async def score(
        self, said: Transcript, options: Sequence[str], *, unconditional: bool = False
    ) -> list[Scored]:
        """Every option echoed after the text, and if asked for, by itself; all at the same time."""
        if said.is_chat:
            raise UnsupportedError(
                "a chat on a server cannot score options: use gen(choices=...), or plain text"
            )
        return await together(self.scored(said.text, one, unconditional) for one in options)

    async def scored(self, text: str, option: str, unconditional: bool) -> Scored:
        answer = await self.post("/completions", echo_of(text + option))
        tokens = echoed(answer, len(text), len(text) + len(option))
        alone = None
        if unconditional:
            by_itself = await self.post("/completions", echo_of(option))
            alone = echoed(by_itself, 0, len(option))
        usage = answer.get("usage")
        reply = Reply(
            text=option,
            tokens=tuple(Token(id=None, text=t, logprob=lp or 0.0) for t, lp in tokens),
            finish="stop",
            n_prompt=max(0, number(usage, "prompt_tokens") - len(tokens)),
            n_cached=cached_of(usage),
        )
        return Scored(reply=reply, score=option_score(tokens, alone))

    # The line.

    async def post(self, path: str, body: Body) -> Mapping[str, Any]:
        import httpx

        try:
            response = await self.open.post(self.url + path, json=self.named(body))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.gone(error) from error
        self.refuse_errors(response)
        return self.parsed(response.text)

    async def events(self, path: str, body: Body) -> AsyncIterator[Mapping[str, Any]]:
        """The server-sent events of an answer, without the last, which only says that it is."""
        import httpx

        body = self.named(body) | {"stream": True, "stream_options": {"include_usage": True}}
        try:
            async with self.open.stream("POST", self.url + path, json=body) as response:
                if response.is_error:
                    await response.aread()
                self.refuse_errors(response)
                async for line in response.aiter_lines():
                    data = line.removeprefix("data:").strip()
                    if line.startswith("data:") and data != "[DONE]":
                        yield self.parsed(data)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.gone(error) from error

    @property
    def open(self) -> "httpx.AsyncClient":
        if self.client is None:
            raise StoppedError("the client is closed: `async with engine:` around the programs")
        return self.client

    def named(self, body: Body) -> Body:
        return {"model": self.model, **body}

    def gone(self, error: Exception) -> ServerGoneError:
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        return ServerGoneError(f"{self.url} does not answer ({what}): is a server running there?")

    def refuse_errors(self, response: "httpx.Response") -> None:
        if response.is_error:
            raise ServerError(f"{self.url} refuses ({response.status_code}): {response.text[:300]}")

    def parsed(self, text: str) -> Mapping[str, Any]:
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ServerError(f"{self.url} answers no JSON: {text[:80]!r}") from error
        if not isinstance(answer, dict):
            raise ServerError(f"{self.url} answers no JSON object: {text[:80]!r}")
        if "error" in answer:
            raise ServerError(f"{self.url} refuses: {str(answer['error'])[:300]}")
        return answer
