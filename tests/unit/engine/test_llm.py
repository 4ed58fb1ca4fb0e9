"""The front door, with every shape checked: all caches, both loops, text, scores and streams."""

import numpy as np
import pytest

from refimpl.backend import ReferenceBackend
from refimpl.engine.limits import Limits
from refimpl.engine.llm import LLM
from refimpl.engine.overlap import OverlappedEngine
from refimpl.engine.policies import Priority
from refimpl.engine.speculative.length import Fixed
from refimpl.engine.speculative.ngram import NGram
from refimpl.engine.speculative.speculator import Speculator
from refimpl.engine.text import TextStream
from refimpl.errors import InputError
from refimpl.model.cache import attend_to_itself
from refimpl.model.forward import forward
from refimpl.model.generate import generate, incremental
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams, log_softmax
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import Vocabulary

MODEL = random_model("llama", seed=0, vocab_size=26)
LETTERS = Tokenizer(
    Vocabulary(
        alphabet="bytes",
        merge_by="rank",
        tokens=tuple("abcdefghijklmnopqrstuvwxyz"),
        types=(1,) * 26,
        eog_ids=frozenset({25}),
    )
)
PROMPTS = ["once", "upon", "on", "once upon".replace(" ", "")]


def definition(ids, params, request=0):
    steps = generate(
        incremental(MODEL, 64),
        ids,
        params,
        eog_ids=LETTERS.eog_ids,
        context_length=64,
        request=request,
    )
    return [step.sampled for step in steps]


@pytest.mark.parametrize("cache", ["none", "hashed", "radix"])
@pytest.mark.parametrize("overlap", [False, True])
def test_generate_equals_the_definition(cache, overlap):
    llm = LLM(
        MODEL,
        tokenizer=LETTERS,
        cache=cache,
        overlap=overlap,
        block_size=4,
        n_blocks=12,
        n_host_blocks=4,
    )
    params = SamplingParams(max_tokens=6, seed=3)
    for result in llm.generate(PROMPTS, params, n=2):
        for i, completion in enumerate(result.completions):
            assert completion.sampled == definition(result.prompt, params, request=i)
            end = completion.tokens[-1] == 25
            shown = completion.tokens[:-1] if end else completion.tokens
            assert completion.finish == ("stop" if end else "length")
            assert completion.text == LETTERS.decode(shown)


def test_a_stop_string_across_tokens_ends_the_text_before_it():
    llm = LLM(MODEL, tokenizer=LETTERS)
    params = SamplingParams(max_tokens=20, ignore_eos=True)
    whole = llm.generate("once", params)[0].completions[0]
    stop = whole.text[5:8]
    cut = llm.generate("once", SamplingParams(max_tokens=20, ignore_eos=True, stop=(stop,)))[0]
    assert cut.completions[0].text == whole.text[: whole.text.index(stop)]
    assert cut.completions[0].finish == "stop"
    n = len(cut.completions[0].tokens)
    assert n < 20 and cut.completions[0].tokens == whole.tokens[:n]  # law 18: it only truncates


def test_the_stream_joined_is_the_text():
    llm = LLM(MODEL, tokenizer=LETTERS)
    params = SamplingParams(max_tokens=9, stop=("zz", "qx"))
    texts = ["", "", "", ""]
    for place, output in llm.stream(PROMPTS, params):
        texts[place] += output.text
    assert texts == [r.completions[0].text for r in llm.generate(PROMPTS, params)]


def test_whoever_stops_listening_stops_the_work():
    llm = LLM(MODEL, tokenizer=LETTERS)
    news = llm.stream(PROMPTS, SamplingParams(max_tokens=9))
    next(news)
    news.close()
    assert llm.engine.is_idle
    llm.engine.scheduler.check()


def test_prompt_scores_are_the_models_own_and_need_no_cache():
    llm = LLM(MODEL, block_size=2, n_blocks=20)
    ids = [1, 5, 9, 2, 2, 7]
    tokens = np.array(ids)
    attend = attend_to_itself(MODEL.config, np.arange(6))
    logits = forward(MODEL, tokens, np.arange(6), attend).astype(np.float64)
    expected = {p: float(log_softmax(logits[p - 1])[ids[p]]) for p in range(1, 6)}
    for _ in range(2):  # the second time the prompt is cached, and computed all the same
        (result,) = llm.generate([ids], SamplingParams(max_tokens=2), prompt_logprobs=2)
        assert {p: s.logprob for p, s in result.scores.items()} == expected
        assert all(len(s.top) == 2 for s in result.scores.values())


def test_logprobs_are_those_of_the_model_and_those_of_the_law_that_was_drawn_from():
    params = SamplingParams(max_tokens=4, temperature=0.5, top_k=3, logprobs=5, seed=2)
    [result] = LLM(MODEL).generate([[1, 5, 9]], params)
    tokens = list(result.prompt)
    for sampled in result.completions[0].sampled:
        logits = incremental(MODEL, 64)(tokens).astype(np.float64)
        raw, best = log_softmax(logits), np.argsort(-logits)
        assert [t.token for t in sampled.top] == best[:5].tolist()
        assert [t.logprob for t in sampled.top] == raw[best[:5]].tolist()
        assert sampled.logprob == raw[sampled.token]
        drawn = {t.token: t.logprob for t in sampled.drawn_top}
        assert list(drawn) == best[:3].tolist()
        expected = log_softmax(logits[best[:3]] / 0.5)
        np.testing.assert_allclose(list(drawn.values()), expected, atol=1e-12)
        assert sampled.drawn_logprob == drawn[sampled.token]
        tokens.append(sampled.token)


def test_each_prompt_may_have_its_own_parameters():
    llm = LLM(MODEL)
    params = [SamplingParams(max_tokens=m) for m in (1, 4)]
    results = llm.generate([[1], [2]], params)
    assert [len(r.completions[0].tokens) for r in results] == [1, 4]
    with pytest.raises(InputError, match="2 prompts and 1 parameters"):
        llm.generate([[1], [2]], params[:1])


def test_a_later_call_finds_the_first_ones_cache():
    llm = LLM(MODEL, block_size=2, n_blocks=20)
    ids = [1, 2, 3, 4, 5]
    assert llm.generate(ids, SamplingParams(max_tokens=1))[0].completions[0].n_cached == 0
    assert llm.generate(ids, SamplingParams(max_tokens=1))[0].completions[0].n_cached == 4


def test_a_request_can_carry_a_salt_a_priority_and_stop_tokens():
    llm = LLM(MODEL, block_size=2, n_blocks=20, policy=Priority(), limits=Limits(max_seqs=1))
    params = SamplingParams(max_tokens=6, ignore_eos=True)
    ids = [1, 2, 3, 4, 5]
    [[late]] = llm.submit([ids], params, priority=1)
    [[early]] = llm.submit([ids], params, priority=0, extra=("salt",))
    llm.engine.run()
    assert early.n_cached == 0 and late.n_cached == 0  # nothing is shared across a salt
    assert llm.generate(ids, params, extra=("salt",))[0].completions[0].n_cached == 4
    whole = late.output
    [cut] = llm.generate(ids, params, stop_tokens=frozenset(whole[2:3]))
    assert cut.completions[0].tokens == whole[: whole.index(whole[2]) + 1]
    [[first], [second]] = llm.submit([ids, ids], params)
    [[third]] = llm.submit([ids], params, priority=-1)
    ended = [o.request.id for o in llm.engine.run() if o.finish]
    assert ended == [third.id, first.id, second.id]


def test_tokens_that_do_not_exist_are_that_prompts_error():
    llm = LLM(MODEL)
    params = SamplingParams(max_tokens=2)
    bad, good, negative = llm.generate([[1, 26], [1, 2], [-1, 2]], params)
    assert isinstance(bad.completions[0].error, InputError)
    assert isinstance(negative.completions[0].error, InputError)
    assert good.completions[0].sampled == definition([1, 2], params)


@pytest.mark.parametrize("call", [{"n": 0}, {"prompts": "a text"}])
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InputError):
        LLM(MODEL).generate(**{"prompts": [[1]], "params": SamplingParams(), **call})


class Counting(ReferenceBackend):
    def __init__(self):
        super().__init__()
        self.n_tokens = 0

    def forward(self, model, plan, *args):
        plan.check()
        self.n_tokens += len(plan.tokens)
        return super().forward(model, plan, *args)


def test_the_overlapped_loop_wastes_a_step_on_a_stop_and_none_on_a_length():
    work = {}
    for overlap in (False, True):
        for stop in (False, True):
            backend = Counting()
            llm = LLM(MODEL, tokenizer=LETTERS, backend=backend, overlap=overlap)
            first = definition([1, 2], SamplingParams(max_tokens=1))[0].token
            params = SamplingParams(
                max_tokens=4, ignore_eos=True, stop=(LETTERS.decode([first]),) if stop else ()
            )
            llm.generate([[1, 2]], params)
            work[overlap, stop] = backend.n_tokens
    assert work == {(False, False): 5, (True, False): 5, (False, True): 2, (True, True): 3}
    assert isinstance(llm.engine, OverlappedEngine)


def test_a_text_stream_holds_half_a_stop_string_back():
    stream = TextStream(LetterDecoder(), stops=("cd",))
    assert [stream.push(t) for t in (0, 2)] == ["a", ""]
    assert stream.push(1, last=True) == "cb"
    assert not stream.stopped


class LetterDecoder:
    def push(self, token):
        return "abcd"[token]

    def flush(self):
        return ""


@pytest.mark.parametrize("params", [{"temperature": 0.0}, {"top_k": 3, "seed": 3}])
def test_guessing_reports_what_the_plain_loop_reports(params):
    model = random_model("llama", seed=0)
    params = SamplingParams(max_tokens=12, logprobs=2, **params)
    plain, guessed = (
        LLM(model, block_size=4, n_blocks=32, speculator=one).generate([1, 2, 3, 1, 2, 3], params)
        for one in (None, Speculator(NGram(shortest=1), Fixed(3)))
    )
    assert guessed[0].completions[0].sampled == plain[0].completions[0].sampled
    assert all(one.drawn_top for one in plain[0].completions[0].sampled)


def test_the_overlapped_loop_does_not_speculate():
    with pytest.raises(InputError, match="choose one"):
        LLM(random_model("llama", seed=0), overlap=True, speculator=Speculator(NGram()))
