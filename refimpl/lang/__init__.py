"""Programs that talk to a model: some of what they say is theirs, some the model's.

A program is an async function whose first argument is the text so far.  It writes with `+=`, speaks
in roles, asks the model to go on with `gen` or to choose with `select`, and forks: several texts
that begin alike, at the same time.  Prompts that share a beginning share its computation.

    @program
    async def advise(p, topic):
        p.user(f"Give me a tip about {topic}.")
        await p.gen("tip", max_tokens=30)

    async with Local(load("model.gguf")) as engine:
        done = await advise.run(engine, "sleep")
        print(done["tip"])

The same program runs on the engine in this process (`Local`) and on a server that speaks OpenAI's
protocol (`Remote`).

The idea is SGLang's (Zheng et al., NeurIPS 2024); the language is today's Python: a fork is a task
group, a time limit is `asyncio.timeout`, whatever is cancelled gives its memory back.

Read in this order: `transcript` (what was said), `ask` and `handles` (a question to the model and
what comes back), `state` (the p of a program), `fork`, `program` (how one is run), `faults`;
`shapes` and `values` (a type as a JSON schema, and back), `choices` (which option is best);
`local` (the engine in this process) with `pending`, `families`, `forced`, `patience` and `counts`;
`remote` (a server) with `wire` and `dialects`; `together` (what asyncio has not).
"""

from refimpl.lang.ask import Executor
from refimpl.lang.counts import Counts
from refimpl.lang.faults import ProgramError, SchemaError, ServerError, ServerGoneError
from refimpl.lang.fork import Fork
from refimpl.lang.handles import Choice, Gen, Token
from refimpl.lang.local import Local
from refimpl.lang.program import Done, Job, Program, program, run_batch, run_sync
from refimpl.lang.remote import Remote
from refimpl.lang.state import State

__all__ = [
    "Choice",
    "Counts",
    "Done",
    "Executor",
    "Fork",
    "Gen",
    "Job",
    "Local",
    "Program",
    "ProgramError",
    "Remote",
    "SchemaError",
    "ServerError",
    "ServerGoneError",
    "State",
    "Token",
    "program",
    "run_batch",
    "run_sync",
]
