"""The front door: prompts in, texts out, everything batched.

    llm = LLM(load("model.gguf"))
    for result in llm.generate(["Once upon", "The cat"], SamplingParams(max_tokens=20), n=2):
        print([completion.text for completion in result.completions])

A prompt is a text or a list of token ids.  A prompt that cannot be served gets an error of its own;
the others do not notice.

>>> from refimpl.oracle.models import random_model
>>> llm = LLM(random_model("llama", seed=0), block_size=4, n_blocks=32)
>>> [a, b] = llm.generate([[1, 2, 3], []], SamplingParams(max_tokens=3, temperature=0.0))
>>> len(a.completions[0].tokens), a.completions[0].finish
(3, 'length')
>>> print(b.completions[0].error)
request '1' has no tokens: nothing to continue

`cache`, `mode`, `policy`, `limits`, `overlap` and `speculator` choose how the work is scheduled,
and change no bit of an answer.  Without `overlap` the backend decides: one that need not wait for
the tokens it chooses is not waited for.  With `record=True` the scheduler keeps a log that
`refimpl show` draws (`refimpl.engine.show`):

>>> llm = LLM(random_model("llama", seed=0), block_size=4, n_blocks=32, record=True)
>>> _ = llm.generate([1, 2, 3], SamplingParams(max_tokens=2))
>>> len(llm.log)                                    # a header and two steps
3
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import count
from typing import Any, Literal

from refimpl.backend import Backend, ChoosesAhead, ReferenceBackend
from refimpl.engine.core import Engine
from refimpl.engine.limits import Limits
from refimpl.engine.modes import rules_of
from refimpl.engine.overlap import Inline, OverlappedEngine
from refimpl.engine.policies import Policy
from refimpl.engine.request import Finish, Request
from refimpl.engine.results import Result, result_of
from refimpl.engine.scheduler import Scheduler
from refimpl.engine.show.record import Log, RecordingScheduler
from refimpl.engine.speculative.engine import SpeculativeEngine
from refimpl.engine.speculative.speculator import Speculator
from refimpl.engine.step import Output
from refimpl.engine.text import TextStream
from refimpl.errors import InputError, RefimplError
from refimpl.grammar.constraint import compile_json_schema
from refimpl.grammar.guide import Asked, vocabulary_of
from refimpl.kv.blocks import BlockPool
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Memory
from refimpl.kv.tree import RadixMemory
from refimpl.model.config import Config
from refimpl.model.forward import Model
from refimpl.model.load import Loaded
from refimpl.sampling import SamplingParams
from refimpl.text import IncrementalDecoder
from refimpl.text.tokenizer import Tokenizer

Prompt = str | Sequence[int]
CacheKind = Literal["none", "hashed", "radix"]
MEMORIES: dict[str, type[Memory]] = {"none": Memory, "hashed": HashedMemory, "radix": RadixMemory}


class LLM:
    """A model, and an engine that serves it."""

    def __init__(
        self,
        model: Loaded | Model,
        *,
        tokenizer: Tokenizer | None = None,
        backend: Backend | None = None,
        cache: CacheKind = "hashed",
        block_size: int = 16,
        n_blocks: int | None = None,
        n_host_blocks: int = 0,
        limits: Limits | None = None,
        policy: Policy | None = None,
        mode: str = "vllm",
        overlap: bool | None = None,
        speculator: Speculator | None = None,
        record: bool = False,
    ) -> None:
        self.model = model.model if isinstance(model, Loaded) else model
        self.tokenizer = tokenizer
        if tokenizer is None and isinstance(model, Loaded):
            self.tokenizer = model.tokenizer
        n_blocks = n_blocks or default_blocks(self.model.config, block_size)
        pool = BlockPool(n_blocks=n_blocks, block_size=block_size)
        host = BlockPool(n_blocks=n_host_blocks, block_size=block_size) if n_host_blocks else None
        memory = MEMORIES[cache](pool, host=host)
        word = self.tokenizer.token_text if self.tokenizer else None
        admission, victims = rules_of(mode)
        kind = partial(RecordingScheduler, word=word) if record else Scheduler
        scheduler = kind(memory, limits, policy=policy, victims=victims, admission=admission)
        self.backend = backend = backend or ReferenceBackend()
        if overlap and speculator is not None:
            raise InputError("the overlapped loop does not speculate: choose one of the two")
        ahead = isinstance(backend, ChoosesAhead)
        if overlap is None:
            overlap = ahead and speculator is None
        if overlap:
            stream = Inline() if ahead else ThreadPoolExecutor(max_workers=1)
            self.engine: Engine = OverlappedEngine(self.model, backend, scheduler, stream)
        elif speculator is not None:
            self.engine = SpeculativeEngine(self.model, backend, scheduler, speculator)
        else:
            self.engine = Engine(self.model, backend, scheduler)
        self._ids = count()

    @property
    def log(self) -> Log:
        """What happened so far, if it is recorded."""
        scheduler = self.engine.scheduler
        return scheduler.log if isinstance(scheduler, RecordingScheduler) else []

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams],
        *,
        n: int = 1,
        prompt_logprobs: int | None = None,
        **fields: Any,
    ) -> list[Result]:
        """All prompts together; the results in the order of the prompts.

        `fields` are what else a request can carry: `priority`, `client`, `extra`, `stop_tokens`.
        """
        families = self.submit(prompts, params, n=n, prompt_logprobs=prompt_logprobs, **fields)
        texts = {request.id: "" for family in families for request in family}
        for output in self.outputs(families):
            texts[output.request.id] += output.text
        return [result_of(family, texts) for family in families]

    def stream(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams],
        *,
        n: int = 1,
        **fields: Any,
    ) -> Iterator[tuple[int, Output]]:
        """News as it comes: the number of the prompt, and what is new of one of its samples.

        Which sample is `output.request.sample`; the pieces of its text, joined, are its text.
        """
        families = self.submit(prompts, params, n=n, **fields)
        place = {request.id: i for i, family in enumerate(families) for request in family}
        for i, family in enumerate(families):
            if family[0].error:  # refused, so nothing will be heard of it
                yield i, Output(request=family[0], finish=family[0].finish)
        for output in self.outputs(families):
            yield place[output.request.id], output

    def outputs(self, families: list[list[Request]]) -> Iterator[Output]:
        """Step until all are served; whoever stops listening stops the work."""
        try:
            yield from self.engine.scheduler.take_news()
            while not self.engine.is_idle:
                yield from self.engine.step()
        finally:
            for request in (request for family in families for request in family):
                if request.id in self.engine.scheduler.ids:
                    self.engine.abort(request.id)

    def submit(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams],
        *,
        n: int = 1,
        prompt_logprobs: int | None = None,
        names: Sequence[str] = (),
        **fields: Any,
    ) -> list[list[Request]]:
        """Queue every prompt; one that is refused has its error and is finished.

        `names` are the requests' ids, for whoever follows them; without them they are numbers.
        """
        families = []
        asked = as_list(prompts)
        ids = names or [str(next(self._ids)) for _ in asked]
        wanted = [params] * len(asked) if isinstance(params, SamplingParams) else list(params)
        if len(wanted) != len(asked):
            raise InputError(f"{len(asked)} prompts and {len(wanted)} parameters: give one for all")
        for id, prompt, one in zip(ids, asked, wanted, strict=True):
            family = self.requests(id, prompt, one, n, prompt_logprobs, fields)
            try:
                for request in family:
                    if one.is_constrained:
                        limit = request.limit - request.n_prompt
                        request.guide = self.asked.guide(one, limit)
                self.refuse_unknown_tokens(family[0])
                self.engine.add(family[0])
            except RefimplError as error:
                for request in family:
                    request.error, request.finish = error, Finish.ERROR
            families.append(family)
        return families

    @cached_property
    def asked(self) -> Asked:
        """The constraints users asked for; the backend may have a faster way to schemas' masks."""
        if self.tokenizer is None:
            raise InputError("a constraint is about text and needs a tokenizer: give LLM one")
        faster = getattr(self.backend, "compile_json_schema", compile_json_schema)
        return Asked(vocabulary_of(self.tokenizer), faster)

    def refuse_unknown_tokens(self, request: Request) -> None:
        known = self.model.config.vocab_size
        if request.prompt and not 0 <= min(request.prompt) <= max(request.prompt) < known:
            raise InputError(f"a prompt has tokens outside the model's vocabulary of {known}")

    def requests(
        self,
        id: str,
        prompt: Prompt,
        params: SamplingParams,
        n: int,
        prompt_logprobs: int | None,
        fields: Mapping[str, Any],
    ) -> list[Request]:
        """n samples: the first, and those to be forked from it."""
        if n < 1:
            raise InputError(f"n is {n}: ask for at least one sample")
        ids = self.encode(prompt)
        family = [
            Request(
                id=id if i == 0 else f"{id}.{i}",
                prompt=tuple(ids),
                params=params,
                sample=i,
                eog_tokens=self.tokenizer.eog_ids if self.tokenizer else frozenset(),
                context_length=self.model.config.context_length,
                vocab_size=self.tokenizer.vocab_size if self.tokenizer else None,
                prompt_logprobs=prompt_logprobs if i == 0 else None,
                text=self.text_stream(ids, params),
                is_unborn=i > 0,
                **fields,
            )
            for i in range(n)
        ]
        family[0].unborn = family[1:]
        return family

    def encode(self, prompt: Prompt) -> list[int]:
        if not isinstance(prompt, str):
            return list(prompt)
        if self.tokenizer is None:
            raise InputError("a text needs a tokenizer: give token ids, or LLM(..., tokenizer=...)")
        return self.tokenizer.encode(prompt)

    def text_stream(self, prompt: list[int], params: SamplingParams) -> TextStream | None:
        if self.tokenizer is None:
            return None
        decoder = IncrementalDecoder(self.tokenizer, skip_special=True)
        for token in prompt:  # the space at the start of the text is the prompt's own
            decoder.push(token)
        return TextStream(decoder, stops=params.stop)


def default_blocks(config: Config, block_size: int) -> int:
    """A gibibyte of float32 keys and values, but no more than four whole contexts."""
    bytes_per_token = 2 * 4 * config.n_layers * config.n_kv_heads * config.head_dim
    affordable = (1 << 30) // (bytes_per_token * block_size)
    return max(1, min(affordable, 4 * -(-config.context_length // block_size)))


def as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or many: a text is one, and so is a sequence of token ids."""
    if isinstance(prompts, str) or (prompts and all(isinstance(p, int) for p in prompts)):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]
