"""Whatever goes wrong: one clear error that names program and line, and nothing left behind."""

import asyncio
import inspect
from pathlib import Path

import pytest

from refimpl.engine.faults import ContextOverflowError, EmptyPromptError
from refimpl.errors import InputError, RefimplError
from refimpl.lang import ProgramError, State, program, run_batch
from refimpl.lang.faults import StoppedError
from tests.unit.lang.models import assert_at_rest, local, run


def line_of(function, text):
    """The number of the line in which a function says something."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


@program
async def broken(p):
    p += "once"
    await p.gen("x", max_tokens=2)
    raise KeyError("nobody")


@program
async def deep(p):
    p += "stem"
    async with p.fork(3) as fork:
        fork.each(second_fails)


async def second_fails(p, i):
    await p.gen(max_tokens=3)
    if i == 1:
        raise ValueError("no more")
    await p.gen(max_tokens=400)


@program
async def long(p):
    p += "stem"
    await p.gen(max_tokens=400)


@program
async def slow(p):
    p += "stem"
    async with p.fork(3, timeout=0.05) as fork:
        fork.each(lambda b, i: b.gen(max_tokens=3 if i else 10**6))


def test_a_program_that_raises():
    with pytest.raises(ProgramError) as caught:
        run(local(), broken.run)
    error, line = caught.value, line_of(broken.function, "raise KeyError")
    assert str(error) == f"program 'broken', {Path(__file__).name}:{line}: KeyError: 'nobody'"
    assert isinstance(error, RefimplError) and isinstance(error.__cause__, KeyError)
    assert (error.program, error.path, error.line) == ("broken", __file__, line)


def test_a_branch_that_raises_ends_its_siblings():
    engine = local()
    with pytest.raises(ProgramError) as caught:
        run(engine, deep.run)
    line = line_of(second_fails, "raise ValueError")
    assert str(caught.value).endswith(f":{line} in branch 1: ValueError: no more")
    assert engine.counts.n_drawn < 20


def test_a_branch_that_times_out():
    with pytest.raises(ProgramError, match=r"in branch 0: TimeoutError: not done within 0\.05 s"):
        run(local(), slow.run)


def test_a_branch_that_times_out_names_the_line_where_it_waited():
    @program
    async def waiting(p):
        p += "stem"
        async with p.fork(2, timeout=0.05) as fork:
            fork.each(wait)

    async def wait(p, i):
        await p.gen(max_tokens=1)
        await asyncio.sleep(9)

    with pytest.raises(ProgramError) as caught:
        run(local(), waiting.run)
    assert caught.value.line == line_of(wait, "sleep(9)")


def test_a_program_that_times_out():
    @program
    async def endless(p):
        p += "a"
        while True:
            await p.gen(max_tokens=5)

    with pytest.raises(ProgramError, match=r"'endless', .*TimeoutError: not done within 0\.1 s"):
        run(local(), lambda engine: endless.on().run(engine, timeout=0.1))


def test_a_time_limit_inside_a_program_is_the_programs_own():
    @program
    async def patient(p):
        p += "a"
        try:
            async with asyncio.timeout(0.05):
                await p.gen("x", max_tokens=500)
        except TimeoutError:
            p += "late"
        return await p.gen(max_tokens=2)

    engine = local()
    done = run(engine, patient.run)
    assert done.text == "alate" + done.result.text  # the text is as it was before


def test_cancelling_a_program_ends_it():
    engine = local()

    async def work(engine):
        task = asyncio.ensure_future(deep.run(engine))
        while not engine.scheduler.running:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert_at_rest(engine)

    run(engine, work)


def test_the_body_of_a_fork_may_fail_too():
    @program
    async def careless(p):
        p += "stem"
        async with p.fork(2) as fork:
            fork.each(lambda b, i: b.gen(max_tokens=300))
            await asyncio.sleep(0.02)
            raise InputError("changed my mind")

    with pytest.raises(ProgramError, match="InputError: changed my mind"):
        run(local(), careless.run)


def test_a_branch_works_once_and_not_after_its_fork():
    @program
    async def reuse(p):
        p += "stem"
        async with p.fork(1) as fork:
            fork.each(lambda b, i: b.gen(max_tokens=1))
            with pytest.raises(InputError, match="at work already"):
                fork.start(0, fork.branches[0].gen())
        await fork.branches[0].gen()

    with pytest.raises(ProgramError, match="StoppedError: this program is over"):
        run(local(), reuse.run)


@pytest.mark.parametrize(
    ("text", "kind"), [("", EmptyPromptError), ("a" * 600, ContextOverflowError)]
)
def test_what_the_engine_refuses_is_refused_for_every_branch(text, kind):
    @program
    async def refused(p):
        p += text
        async with p.fork(2) as fork:
            fork.each(lambda b, i: b.gen(max_tokens=1))

    with pytest.raises(ProgramError) as caught:
        run(local(), refused.run)
    assert isinstance(caught.value.cause, kind)


def test_a_batch_ends_with_its_first_error_or_returns_them_all():
    jobs = [deep.on(), broken.on(), broken.on()]
    with pytest.raises(ProgramError, match="nobody"):
        run(local(), lambda engine: run_batch(jobs, engine))
    errors = run(local(), lambda engine: run_batch(jobs, engine, return_errors=True))
    assert [error.program for error in errors] == ["deep", "broken", "broken"]


def test_an_engine_that_is_left_tells_those_who_wait():
    async def work():
        engine = local()
        async with engine:
            task = asyncio.ensure_future(long.run(engine))
            while not engine.scheduler.running:
                await asyncio.sleep(0)
        with pytest.raises(ProgramError, match="the engine was left") as caught:
            await task
        assert isinstance(caught.value.cause, StoppedError)
        assert_at_rest(engine)

    asyncio.run(work())


def test_an_engine_that_breaks_down_tells_everybody_why():
    engine = local()

    def fall_over():
        raise RuntimeError("planted")

    async def work(engine):
        step, engine.engine.step = engine.engine.step, fall_over
        with pytest.raises(ProgramError, match="broke down: RuntimeError: planted"):
            await deep.run(engine)
        engine.engine.step = step
        with pytest.raises(ProgramError, match="nobody"):  # and it goes on
            await broken.run(engine)

    run(engine, work)


def test_a_listener_that_raises_is_its_programs_fault():
    @program
    async def deaf(p):
        p += "a"
        await p.gen(max_tokens=9, listener=lambda piece: 1 // 0)

    async def both(engine):
        bad, good = await run_batch([deaf.on(), fine.on()], engine, return_errors=True)
        assert "ZeroDivisionError" in str(bad) and good.result.finish == "length"

    run(local(), both)


@program
async def fine(p):
    p += "once"
    return await p.gen(max_tokens=9)


def test_an_option_that_does_not_fit_the_context():
    @program
    async def full(p):
        p += "a" * 510
        await p.select(["xyx", "y"])

    with pytest.raises(ProgramError, match="no room for the option"):
        run(local(), full.run)


def test_a_program_is_async():
    with pytest.raises(InputError, match="no `async def`"):
        program(lambda p: None)


def test_an_engine_is_entered_once_at_a_time():
    async def work(engine):
        with pytest.raises(StoppedError, match="already"):
            async with engine:
                pass

    run(local(), work)


def test_a_state_says_what_it_knows():
    state = State(local())
    with pytest.raises(InputError, match="nothing yet"):
        state["x"]
    state += "text"
    with pytest.raises(InputError, match="begin with a role or none"):
        state.user("hi")
    with pytest.raises(InputError, match="none of them empty"):
        asyncio.run(state.select(["a", ""]))
    with pytest.raises(InputError, match="contradict"):
        asyncio.run(state.gen(regex="a", choices=["a"]))
