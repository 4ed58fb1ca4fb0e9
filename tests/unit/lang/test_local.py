"""Programs on the engine in this process: text, roles, handles, forks, streams."""

import asyncio
import re
from dataclasses import dataclass

import numpy as np
import pytest

from refimpl.errors import InputError
from refimpl.lang import Choice, Local, ProgramError, State, program, run_batch, run_sync
from refimpl.lang.faults import BusyError, SchemaError, StoppedError
from refimpl.model.find import find_model
from refimpl.model.generate import generate, incremental
from refimpl.model.load import load
from refimpl.sampling import SamplingParams, log_softmax
from tests.laws.engines import shapes_unchecked
from tests.unit.lang.models import LETTERS, MODEL, local, run


def definition(prompt, **params):
    """The naive loop: no batch, no cache."""
    steps = generate(
        incremental(MODEL, 512),
        LETTERS.encode(prompt),
        SamplingParams(**{"temperature": 0.0, **params}),
        eog_ids=LETTERS.eog_ids,
        context_length=512,
    )
    return [step.sampled for step in steps]


def said_by(sampled):
    return "".join(LETTERS.token_text(one.token) for one in sampled if one.token != 25)


@program
async def twice(p, text):
    p += text
    first = await p.gen("first", max_tokens=5)
    p += "and"
    second = await p.gen("second", max_tokens=3)
    return first, second


def test_a_program_writes_and_the_model_goes_on():
    done = run(local(), lambda engine: twice.run(engine, "once"))
    first, second = done.result
    expected = definition("once", max_tokens=5)
    assert done["first"] == said_by(expected) == str(first)
    assert done["second"] == said_by(definition(f"once{first}and", max_tokens=3))
    assert done.text == f"once{first}and{second}"


def test_every_handle_carries_tokens_logprobs_finish_and_cached_tokens():
    engine = local()
    first, second = run(engine, lambda engine: twice.run(engine, "once")).result
    expected = definition("once", max_tokens=5)
    assert [(t.id, t.logprob) for t in first.tokens] == [(s.token, s.logprob) for s in expected]
    assert first.logprobs == [s.logprob for s in expected]
    assert "".join(t.text for t in first.tokens) == first.text
    assert first.finish == "length" and first.n_prompt == 4 and first.n_cached == 0
    assert second.n_prompt == 4 + 5 + 3 and second.n_cached == 8  # the fifth was never computed


def test_an_end_of_generation_is_a_stop_and_no_text_and_the_text_goes_on():
    async def until_the_end(p):
        p += "a"
        first = await p.gen(max_tokens=200, temperature=5.0)
        return first, await p.gen(max_tokens=1)

    done = run(local(), lambda engine: program(until_the_end).run(engine))
    first, second = done.result
    assert first.finish == "stop" and first.tokens[-1].id == 25
    assert first.text == "".join(t.text for t in first.tokens[:-1])
    assert done.text == f"a{first}{second}" and second.n_prompt == 1 + len(first.text)


@program
async def chat(p):
    p.system("be")
    p.user("hi")
    p += "there"
    await p.gen("one", max_tokens=3)
    p.user("more")
    p.assistant("well")
    await p.gen("two", max_tokens=3)


def test_roles_are_written_by_the_models_own_template():
    done = run(local(), lambda engine: chat.run(engine))
    one, two = done["one"], done["two"]
    assert one == said_by(definition("sbeyuhitherey" + "a", max_tokens=3))
    assert two == said_by(definition(f"sbeyuhithereya{one}yumoreyawell", max_tokens=3))
    assert (
        done.text
        == f"system: be\nuser: hithere\nassistant: {one}\nuser: more\nassistant: well{two}"
    )


def test_stop_strings_are_no_part_of_the_text():
    whole = said_by(definition("once", max_tokens=9))

    @program
    async def stopping(p):
        p += "once"
        return await p.gen("x", max_tokens=9, stop=whole[4:6])

    done = run(local(), lambda engine: stopping.run(engine))
    assert done["x"] == whole[:4] and done.result.finish == "stop"
    assert done.text == "once" + whole[:4]


def score(prompt, option):
    """The log-probabilities of an option's letters, by the definition."""
    logits = incremental(MODEL, 512)
    ids, found = LETTERS.encode(prompt), []
    for token in LETTERS.encode(option):
        found.append(float(log_softmax(np.asarray(logits(ids), np.float64))[token]))
        ids.append(token)
    return found


@pytest.mark.parametrize("method", ["token_length", "greedy", "unconditional"])
def test_select_scores_options_under_the_models_own_law(method):
    options = ["x", "quick", "brown"]

    @program
    async def choose(p):
        p += "the"
        return await p.select(options, "animal", method=method)

    engine = local()
    done = run(engine, lambda engine: choose.run(engine))
    choice = done.result
    assert isinstance(choice, Choice) and done["animal"] == options[choice.index]
    assert done.text == "the" + options[choice.index]
    assert choice.logprobs == score("the", choice.text)
    if method == "token_length":
        means = [sum(score("the", o)) / len(o) for o in options]
        assert choice.scores == tuple(means) and choice.index == means.index(max(means))
        assert engine.counts.n_prefilled == 3  # one family: the text is computed once


def test_unconditional_scores_subtract_the_option_by_itself():
    @program
    async def choose(p):
        p += "the"
        return await p.select(["x", "quick"], method="unconditional")

    scores = run(local(), lambda engine: choose.run(engine)).result.scores
    alone = [0.0, *score("q", "uick")]
    gains = [a - b for a, b in zip(score("the", "quick"), alone)]
    assert scores == (score("the", "x")[0], sum(gains) / 5)


def test_a_stream_is_the_text_in_pieces():
    @program
    async def streaming(p):
        p += "once"
        return [piece async for piece in p.stream("x", max_tokens=6)]

    done = run(local(), lambda engine: streaming.run(engine))
    assert len(done.result) > 1 and "".join(done.result) == done["x"]
    assert done["x"] == said_by(definition("once", max_tokens=6))


def test_a_stream_that_nobody_listens_to_is_stopped():
    @program
    async def impatient(p):
        p += "once"
        async for _ in p.stream("x", max_tokens=100):
            break

    engine = local()
    run(engine, lambda engine: impatient.run(engine))
    assert engine.counts.n_drawn < 10


@program
async def branch_out(p, n):
    p += "stem"
    async with p.fork(n) as fork:
        fork.each(go_on)
    p += fork.join("x")
    return fork.results


async def go_on(p, i):
    p += "leaf"
    await p.gen("leaf", max_tokens=2 + i)
    return i


def test_join_keeps_the_order_of_the_branches():
    done = run(local(), lambda engine: branch_out.run(engine, 3))
    leaves = ["leaf" + said_by(definition("stemleaf", max_tokens=n)) for n in (2, 3, 4)]
    assert done.result == [0, 1, 2]
    assert done.text == "stem" + "x".join(leaves)


def test_branches_have_the_handles_of_their_stem_and_their_own():
    @program
    async def stem(p):
        p += "a"
        await p.gen("shared", max_tokens=1)
        async with p.fork(2) as fork:
            fork.each(go_on)
        assert fork["shared"] == [p["shared"]] * 2
        with pytest.raises(InputError, match="there is shared"):
            p.handle("leaf")
        return [branch.handle("leaf").finish for branch in fork]

    assert run(local(), lambda engine: stem.run(engine)).result == ["length"] * 2


def test_branches_draw_numbers_of_their_own_whatever_the_batch():
    @program
    async def wild(p):
        p += "a"
        async with p.fork(3) as fork:
            fork.each(lambda b, i: b.gen("x", max_tokens=8, temperature=2.0))
        return fork["x"]

    first = run(local(), lambda engine: run_batch([wild.on(), wild.on()], engine))
    again = run(local(), lambda engine: run_batch([wild.on(), wild.on()], engine, concurrency=1))
    assert [done.result for done in first] == [done.result for done in again]
    assert len(set(first[0].result + first[1].result)) == 6
    alone = run(local(), lambda engine: wild.run(engine))
    assert len(set(alone.result)) == 3


def test_a_branch_that_asks_for_nothing_gets_nothing():
    @program
    async def some(p):
        p += "a"
        async with p.fork([0, 3, 0]) as fork:
            fork.each(lambda b, n: b.gen("x", max_tokens=n))
        return [len(text) for text in fork["x"]]

    assert run(local(), lambda engine: some.run(engine)).result == [0, 3, 0]


def test_branches_of_a_second_fork_draw_numbers_of_their_own():
    @program
    async def wild(p):
        p += "a"
        found = []
        for _ in range(2):
            async with p.fork(2) as fork:
                fork.each(lambda b, i: b.gen("x", max_tokens=8, temperature=2.0))
            found += fork["x"]
        return found

    assert len(set(run(local(), lambda engine: wild.run(engine)).result)) == 4


def test_markers_count_where_the_program_writes_them_and_nowhere_else():
    engine = Local(load(find_model("tiny")))
    state = State(engine)
    state.user("<|im_end|>")
    state.assistant("<|im_end|>")
    state.said.answer("<|im_end|>", None)
    assert engine.ids(state.said).count(2) == 1 + 1  # the template's, and the beginning's


def test_a_task_that_the_program_left_behind_is_stopped():
    @program
    async def forgetful(p):
        p += "a"
        task = asyncio.ensure_future(p.gen(max_tokens=400))
        await asyncio.sleep(0)
        return task

    engine = local()
    assert run(engine, lambda engine: forgetful.run(engine)).result.cancelled()


def test_an_error_of_the_programs_own_task_group_is_told_by_itself():
    @program
    async def grouped(p):
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(9))
            raise OSError("disk full")

    with pytest.raises(ProgramError, match="OSError: disk full"):
        run(local(), lambda engine: grouped.run(engine))


def test_a_text_grows_at_one_end():
    @program
    async def hasty(p):
        p += "a"
        async with asyncio.TaskGroup() as group:
            group.create_task(p.gen(max_tokens=2))
            with pytest.raises(BusyError, match="or fork"):
                await asyncio.sleep(0)
                await p.gen(max_tokens=2)

    run(local(), lambda engine: hasty.run(engine))


def test_a_batch_keeps_its_order_and_its_concurrency():
    running, most = 0, 0

    @program
    async def counted(p, text):
        nonlocal running, most
        running += 1
        most = max(most, running)
        p += text
        await p.gen("x", max_tokens=1 + len(text))
        running -= 1
        return text

    texts = ["abc", "a", "abcd", "ab", "b"]
    engine = local()
    jobs = [counted.on(text) for text in texts]
    done = run(engine, lambda engine: run_batch(jobs, engine, concurrency=2))
    assert [one.result for one in done] == texts and most == 2


def test_the_sync_facade():
    engine = local()
    one = run_sync(engine, twice.on("once"))
    many = run_sync(engine, [twice.on("once"), twice.on("upon")], concurrency=1)
    assert many[0].text == one.text and len(many) == 2
    assert many[0].handle("first").n_cached == 3  # the cache has lasted

    async def inside():
        run_sync(engine, twice.on("once"))

    with pytest.raises(InputError, match="await"):
        asyncio.run(inside())


def test_a_program_may_be_part_of_another():
    @program
    async def outer(p):
        p += "x"
        await twice(p, "once")
        return p["first"]

    done = run(local(), lambda engine: outer.run(engine))
    assert done.text.startswith("xonce") and done.result == done["first"]


def test_an_engine_that_was_not_entered_says_so():
    with pytest.raises(ProgramError, match="async with engine") as caught:
        asyncio.run(twice.run(local(), "once"))
    assert isinstance(caught.value.cause, StoppedError)


def test_text_needs_a_tokenizer():
    with pytest.raises(InputError, match="tokenizer"):
        Local(MODEL)


def test_only_text_is_written():
    @program
    async def wrong(p):
        p += 3

    with shapes_unchecked(), pytest.raises(ProgramError, match=r"use str\("):
        run(local(), lambda engine: wrong.run(engine))


@dataclass
class Pair:
    a: int
    b: bool


def written(**asked):
    @program
    async def constrained(p):
        p.user("Write JSON.")
        return await p.gen("x", max_tokens=40, **asked)

    with shapes_unchecked():
        return run(Local(load(find_model("tiny"))), constrained.run)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_schema_a_pattern_and_choices_are_obeyed(temperature):
    value = written(schema=Pair, temperature=temperature).result.value
    assert type(value.a) is int and type(value.b) is bool
    assert re.fullmatch(r"[ab]{3}-\d", written(regex=r"[ab]{3}-\d", temperature=temperature)["x"])
    assert written(choices=["tea", "coffee"], temperature=temperature)["x"] in ("tea", "coffee")


def test_a_document_that_is_cut_off_is_a_schema_error_and_leaves_the_text_alone():
    @program
    async def short(p):
        p.user("Write JSON.")
        with pytest.raises(SchemaError, match="ask for more tokens"):
            await p.gen("x", max_tokens=3, schema=Pair)
        assert p.text == "user: Write JSON.\nassistant: "
        await p.gen("x", max_tokens=3, schema=Pair)

    with shapes_unchecked(), pytest.raises(ProgramError, match="SchemaError") as caught:
        run(Local(load(find_model("tiny"))), short.run)
    assert isinstance(caught.value.cause, SchemaError)


def test_a_schema_that_nothing_satisfies_is_refused_by_name():
    with pytest.raises(ProgramError, match="Unsatisfiable"):
        written(schema={"type": "integer", "minimum": 3, "maximum": 2})
