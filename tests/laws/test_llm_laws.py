"""Laws 6, 18 and 22 at the front door: rules for short memory, stop strings, streams, samples."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from refimpl.engine.limits import Limits
from refimpl.engine.llm import LLM
from refimpl.engine.modes import MODES, rules_of
from refimpl.kv.blocks import Sharing
from refimpl.sampling import SamplingParams
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import Vocabulary
from tests.laws.engines import (
    ASKS,
    FAMILY,
    PROMPTS,
    SEED,
    VOCAB,
    model_of,
    naive,
    schedules,
    serve,
    shapes_unchecked,
)

LETTERS = Tokenizer(
    Vocabulary(
        alphabet="bytes",
        merge_by="rank",
        tokens=tuple("abcdefghijkl"),
        types=(1,) * VOCAB,
        eog_ids=frozenset({3}),
    )
)


@pytest.fixture(autouse=True, scope="module")
def fast():
    with shapes_unchecked():
        yield


@given(FAMILY, SEED, st.lists(ASKS, min_size=1, max_size=4), schedules(), st.sampled_from([*MODES]))
def test_law_6_same_under_either_engines_rules_for_short_memory(family, seed, asks, schedule, mode):
    engine = schedule.engine(model_of(family, seed))
    engine.scheduler.admission, engine.scheduler.victims = rules_of(mode)
    for ask, request in zip(asks, serve(engine, asks)):
        assert request.sampled == naive(family, seed, ask)


def front_door(seed: int, **options) -> LLM:
    return LLM(model_of("llama", seed), tokenizer=LETTERS, block_size=4, n_blocks=40, **options)


def sampling(**more) -> SamplingParams:
    return SamplingParams(max_tokens=9, seed=4, **more)


@given(
    n=st.integers(1, 5),
    prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12),
    size=st.integers(1, 5),
    sharing=st.sampled_from(Sharing),
)
def test_law_22_n_samples_of_a_prompt_cost_n_minus_1_copies_of_a_partial_block(
    n, prompt, size, sharing
):
    llm = LLM(
        model_of("llama", 0),
        block_size=size,
        n_blocks=200 // size,
        limits=Limits(sharing=sharing),
        record=True,
    )
    llm.generate([prompt], SamplingParams(max_tokens=3, ignore_eos=True), n=n)
    copies = [move for step in llm.log[1:] for move in step["moves"]]
    shared = sharing is Sharing.COPY_ON_WRITE and len(prompt) % size
    assert len(copies) == (n - 1 if shared else 0)
    assert all(kind == "Copy" for kind, *_ in copies)


@given(SEED, PROMPTS, st.text("abcdefghijkl", min_size=1, max_size=3), st.booleans())
def test_law_18_adding_a_stop_string_only_truncates(seed, prompt, stop, ignore_eos):
    params = sampling(ignore_eos=ignore_eos)
    [whole] = front_door(seed).generate([prompt], params)
    [cut] = front_door(seed).generate([prompt], replace(params, stop=(stop,)))
    text, tokens = whole.completions[0].text, whole.completions[0].tokens
    assert cut.completions[0].text == text.split(stop)[0]
    assert cut.completions[0].tokens == tokens[: len(cut.completions[0].tokens)]
    assert stop not in text or cut.completions[0].finish == "stop"


@given(
    SEED,
    st.lists(PROMPTS, min_size=1, max_size=3),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["none", "hashed", "radix"]),
)
def test_law_18_the_stream_joined_is_the_whole_text(seed, prompts, n, overlap, cache):
    params = sampling(stop=("ab", "c"))
    pieces: dict[tuple[int, int], str] = {}
    tokens: dict[tuple[int, int], list[int]] = {}
    llm = front_door(seed, overlap=overlap, cache=cache)
    for place, output in llm.stream(prompts, params, n=n):
        key = (place, output.request.sample)
        pieces[key] = pieces.get(key, "") + output.text
        if output.sampled:
            tokens.setdefault(key, []).append(output.sampled.token)
    for place, result in enumerate(front_door(seed).generate(prompts, params, n=n)):
        for sample, completion in enumerate(result.completions):
            assert pieces[place, sample] == completion.text
            assert tokens[place, sample] == completion.tokens
