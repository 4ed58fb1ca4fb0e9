"""The engine in this process, as programs see it.

    async with Local(load("model.gguf")) as engine:
        await advise.run(engine, "sleep")

It may be entered again and again; its cache lasts.  The cache is SGLang's radix tree with pages of
one token, so every shared token is found, and not only whole blocks.

What becomes of a transcript: outside a chat, each piece is tokenised by itself (the first with the
model's BOS); the model's own tokens stay as they are.  In a chat the closed turns are written by
the model's own template, and the pieces of an answer that was begun follow.  Markers such as
<|im_end|> count where the program begins an answer or writes outside a chat; so strangers' text
belongs into a user's turn, where they are only text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count
from types import TracebackType
from typing import Any

from refimpl.backend import Backend, ReferenceBackend
from refimpl.engine.core import Engine
from refimpl.engine.faults import ContextOverflowError
from refimpl.engine.limits import Limits
from refimpl.engine.llm import MEMORIES, CacheKind, default_blocks
from refimpl.engine.policies import Fcfs, Policy
from refimpl.engine.text import TextStream
from refimpl.errors import InputError
from refimpl.grammar.constraint import compile_json_schema
from refimpl.grammar.guide import Asked, vocabulary_of
from refimpl.kv.blocks import BlockPool
from refimpl.lang.ask import Ask, Listener, Scored
from refimpl.lang.choices import OptionScore
from refimpl.lang.counts import CountedRequest, CountingScheduler, Counts
from refimpl.lang.forced import Forced, forcing
from refimpl.lang.handles import Reply, Token
from refimpl.lang.patience import Patience
from refimpl.lang.pending import Driver
from refimpl.lang.together import together
from refimpl.lang.transcript import Transcript
from refimpl.model.forward import Model
from refimpl.model.load import Loaded
from refimpl.sampling import SamplingParams
from refimpl.text import IncrementalDecoder
from refimpl.text.tokenizer import Tokenizer


class Local:
    """A model, an engine that serves it, and the task that drives the engine."""

    def __init__(
        self,
        model: Loaded | Model,
        *,
        tokenizer: Tokenizer | None = None,
        backend: Backend | None = None,
        cache: CacheKind = "radix",
        block_size: int = 1,
        n_blocks: int | None = None,
        limits: Limits | None = None,
        policy: Policy | None = None,
        share_prompts: bool = True,
        template: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model.model if isinstance(model, Loaded) else model
        if tokenizer is None and isinstance(model, Loaded):
            tokenizer = model.tokenizer
        if tokenizer is None:
            raise InputError("programs are text: give Local(model, tokenizer=...)")
        self.tokenizer = tokenizer
        self.template = dict(template or {})  # what the chat template is told
        pool = BlockPool(
            n_blocks=n_blocks or default_blocks(self.model.config, block_size),
            block_size=block_size,
        )
        policy = policy or (Fcfs() if cache == "none" else Patience())
        self.scheduler = CountingScheduler(MEMORIES[cache](pool), limits, policy=policy)
        self.engine = Engine(self.model, backend or ReferenceBackend(), self.scheduler)
        self.driver = Driver(self.engine, share_prompts=share_prompts)
        self._numbers = count()

    @property
    def counts(self) -> Counts:
        """What was done so far."""
        return self.scheduler.counts

    async def __aenter__(self) -> "Local":
        self.driver.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.driver.leave()

    # What programs ask.

    async def generate(self, said: Transcript, ask: Ask, listener: Listener | None = None) -> Reply:
        params = self.params(ask)
        prompt = self.ids(said)
        request = CountedRequest(
            id=self.next_id(),
            prompt=prompt,
            params=params,
            sample=ask.draw,
            eog_tokens=self.tokenizer.eog_ids,
            context_length=self.model.config.context_length,
            vocab_size=self.tokenizer.vocab_size,
            guide=self.guides.guide(params) if params.is_constrained else None,
            text=self.text_stream(prompt, params),
        )
        return self.reply(request, await self.driver.ask(request, listener))

    async def score(
        self, said: Transcript, options: Sequence[str], *, unconditional: bool = False
    ) -> list[Scored]:
        """Every option said after the text, and if asked for, by itself; all at the same time."""
        prompt = self.ids(said)
        return await together(self.scored(prompt, one, unconditional) for one in options)

    async def scored(self, prompt: tuple[int, ...], option: str, unconditional: bool) -> Scored:
        tokens = self.encode(option)
        if not tokens:
            raise InputError(f"the option {option!r} has no tokens to be scored")
        both = [self.forced(prompt, tokens)]
        if unconditional and len(tokens) > 1:
            both.append(self.forced(tokens[:1], tokens[1:]))
        said, *alone = await together(both)
        score = OptionScore.of(
            [one.logprob for one in said.sampled],
            unconditional=[None, *(one.logprob for r in alone for one in r.sampled)]
            if unconditional
            else None,
        )
        reply = replace(self.reply(said, option), finish="stop")  # an option ends by itself
        return Scored(reply=reply, score=score)

    async def forced(self, prompt: Sequence[int], option: Sequence[int]) -> Forced:
        request = Forced(
            id=self.next_id(),
            prompt=tuple(prompt),
            params=forcing(option[0]),
            option=tuple(option),
            context_length=self.model.config.context_length,
            vocab_size=self.tokenizer.vocab_size,
        )
        await self.driver.ask(request)
        if len(request.output) < len(option):
            raise ContextOverflowError("the context has no room for the option: shorten the text")
        return request

    # From text to tokens and back.

    def ids(self, said: Transcript) -> tuple[int, ...]:
        """The prompt: what was said, as tokens."""
        if said.is_chat:
            ids = self.tokenizer.encode_chat(said.spoken, **self.template)
        else:
            ids = self.tokenizer.with_ends([])
        for place, piece in enumerate(said.begun):
            if piece.tokens is not None:
                ids = [*ids, *piece.tokens]
            else:
                at_start = place == 0 and not said.is_chat
                ids = [*ids, *self.encode(piece.text, at_start, markers=not piece.is_answer)]
        return tuple(ids)

    def encode(self, text: str, at_start: bool = False, *, markers: bool = True) -> list[int]:
        """A piece of text; what stands inside gets no space in front of it."""
        fragments = self.tokenizer.specials.split(text, parse_special=markers)
        if at_start:
            return self.tokenizer.encode_fragments(fragments)
        return self.tokenizer.encode_fragments([0, *fragments])[1:]

    def text_stream(self, prompt: Sequence[int], params: SamplingParams) -> TextStream:
        decoder = IncrementalDecoder(self.tokenizer, skip_special=True)
        for token in prompt:  # the space at the start of the text is the prompt's own
            decoder.push(token)
        return TextStream(decoder, stops=params.stop)

    def params(self, ask: Ask) -> SamplingParams:
        return SamplingParams(
            max_tokens=ask.max_tokens,
            stop=ask.stop,
            temperature=ask.temperature,
            top_p=ask.top_p,
            seed=ask.seed,
            json_schema=ask.schema,
            regex=ask.regex,
            choice=ask.choices or None,
            json_white_space=1,
            json_in_order=True,  # as a dataclass has its fields
        )

    @cached_property
    def guides(self) -> Asked:
        """The constraints asked for so far; a backend may have a faster way to schemas' masks."""
        faster = getattr(self.engine.runner.backend, "compile_json_schema", compile_json_schema)
        return Asked(vocabulary_of(self.tokenizer), faster)

    def reply(self, request: CountedRequest, text: str) -> Reply:
        return Reply(
            text=text,
            tokens=tuple(
                Token(id=one.token, text=self.spelt(one.token), logprob=one.logprob)
                for one in request.sampled
            ),
            finish=request.finish.value if request.finish else "",
            n_prompt=request.n_prompt,
            n_cached=request.n_spared,
            ids=self.kept(request),
        )

    def kept(self, request: CountedRequest) -> tuple[int, ...] | None:
        """The tokens of the visible text: without the end, unknown if a stop string cut them."""
        if request.text is not None and request.text.stopped:
            return None
        output = request.output
        return tuple(output[:-1] if output and output[-1] in request.ends else output)

    def spelt(self, token: int) -> str:
        return self.tokenizer.token_bytes(token).decode(errors="replace")

    def next_id(self) -> str:
        return f"lang-{next(self._numbers)}"
