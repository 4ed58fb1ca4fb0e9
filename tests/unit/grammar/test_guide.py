"""Guides: a mask is a function of the tokens, constraints share batches with free requests."""

import json

import numpy as np
import pytest

from refimpl.engine.llm import LLM
from refimpl.errors import InputError
from refimpl.grammar.forced import Forced
from refimpl.grammar.guide import Asked, Guide, read_schema, vocabulary_of
from refimpl.grammar.masks import Vocabulary, unpack
from refimpl.model.find import find_model
from refimpl.model.load import Loaded, load
from refimpl.sampling import SamplingParams

SCHEMA = {"type": "object", "required": ["who", "age"], "additionalProperties": False,
          "properties": {"who": {"enum": ["cat", "dog"]}, "age": {"type": "integer"}}}  # fmt: skip


NESTED = 'root ::= "(" root ")" | "x"'


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return load(find_model("tiny"))


def test_a_mask_depends_on_the_tokens_alone(vocabulary: Vocabulary):
    asked = Asked(vocabulary)
    guide = asked.guide(SamplingParams(regex="(ab|ac)*d"))
    assert guide is not None
    a, b, c, d = (vocabulary.tokens.index(x) for x in (b"a", b"b", b"c", b"d"))
    paths = [[], [a], [a, b], [a, c], [a], [a, c, d], [], [a, b, a]]
    for path in paths:
        fresh = Guide(guide.constraint)
        assert np.array_equal(guide.mask(path), fresh.mask(path))
        guide.check()
    assert not guide.allows([b])
    assert guide.allows([a, b])
    fork = guide.fork()
    assert fork.state([a]) == guide.state([a])


def test_a_constraint_is_compiled_once(vocabulary: Vocabulary):
    asked = Asked(vocabulary)
    one, two = (asked.guide(SamplingParams(json_schema=SCHEMA, seed=i)) for i in (1, 2))
    other = asked.guide(SamplingParams(json_schema=SCHEMA, json_white_space=0))
    assert one and two and other
    assert one.constraint is two.constraint is not other.constraint
    assert asked.guide(SamplingParams()) is None


@pytest.mark.parametrize("bad", [{"choice": ()}, {"regex": "a", "choice": ("b",)}])
def test_what_makes_no_sense_is_refused(bad: dict[str, object]):
    with pytest.raises(InputError):
        SamplingParams(**bad)


def test_a_schema_may_be_text():
    assert read_schema('{"type": "null"}') == {"type": "null"}
    with pytest.raises(InputError, match="not JSON"):
        read_schema("{")


def test_constraints_and_free_requests_share_a_batch(tiny: Loaded):
    hot = {"temperature": 1.5, "seed": 5}
    params = [
        SamplingParams(json_schema=SCHEMA, max_tokens=40, close_in_time=True, **hot),
        SamplingParams(max_tokens=6, **hot),
        SamplingParams(regex="[a-c]{3}", max_tokens=9, **hot),
        SamplingParams(choice=("yes", "no"), max_tokens=9, **hot),
        SamplingParams(
            grammar='root ::= "(" root ")" | "x"', max_tokens=9, close_in_time=True, **hot
        ),
        SamplingParams(regex="(", max_tokens=9),
        SamplingParams(regex="a{9}", max_tokens=3, close_in_time=True),
    ]
    results = LLM(tiny).generate(["Once upon a time"] * len(params), params)
    done = [result.completions[0] for result in results]
    assert set(json.loads(done[0].text)) == {"who", "age"}
    alone = LLM(tiny).generate("Once upon a time", params[1])[0].completions[0]
    assert done[1].tokens == alone.tokens, "its neighbours change nothing"
    assert set(done[2].text) <= set("abc") and len(done[2].text) == 3
    assert done[3].text in ("yes", "no")
    assert done[4].text.count("(") == done[4].text.count(")") and "x" in done[4].text
    assert isinstance(done[5].error, InputError) and isinstance(done[6].error, InputError)


def test_a_mask_of_the_tokenizer_knows_its_markers(tiny: Loaded):
    vocabulary = vocabulary_of(tiny.tokenizer)
    guide = Asked(vocabulary).guide(SamplingParams(regex="(.|\n)*"))
    assert guide is not None
    allowed = unpack(guide.mask([]), tiny.tokenizer.vocab_size)
    assert all(allowed[t] for t in tiny.tokenizer.eog_ids)
    assert not any(allowed[t] for t in range(allowed.size)
                   if tiny.tokenizer.is_special(t) and t not in tiny.tokenizer.eog_ids)  # fmt: skip


def test_law_28_forced_drafts_change_no_token(tiny: Loaded):
    from refimpl.backend import ReferenceBackend
    from refimpl.engine.core import Engine
    from refimpl.engine.request import Request
    from refimpl.engine.scheduler import Scheduler
    from refimpl.engine.speculative.engine import SpeculativeEngine
    from refimpl.engine.speculative.length import Fixed
    from refimpl.engine.speculative.speculator import Speculator
    from refimpl.kv.blocks import BlockPool
    from refimpl.kv.lease import Memory

    params = SamplingParams(temperature=1.2, seed=3, max_tokens=40, json_schema=SCHEMA,
                            json_white_space=0, json_in_order=True, json_escapes=False)  # fmt: skip
    asked = Asked(vocabulary_of(tiny.tokenizer))

    def serve(kind, *more):
        memory = Memory(BlockPool(n_blocks=20, block_size=16))
        engine, n = kind(tiny.model, ReferenceBackend(), Scheduler(memory), *more), 0
        request = Request(id="a", prompt=(5, 6), params=params, guide=asked.guide(params),
                          eog_tokens=tiny.tokenizer.eog_ids)  # fmt: skip
        engine.add(request)
        while not engine.is_idle:
            n, _ = n + 1, engine.step()
        return request.output, n

    plain, n = serve(Engine)
    jumped, m = serve(SpeculativeEngine, Speculator(Forced(), Fixed(8)))
    assert jumped == plain
    assert m < n
