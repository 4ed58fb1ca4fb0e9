"""What the tests of programs share: a small random model that speaks letters."""

import asyncio

from refimpl.lang import Local
from refimpl.oracle.models import random_model
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import Vocabulary

LETTERS = Tokenizer(
    Vocabulary(
        alphabet="bytes",
        merge_by="rank",
        tokens=tuple("abcdefghijklmnopqrstuvwxyz"),
        types=(1,) * 26,
        eog_ids=frozenset({25}),
        chat_template="{% for m in messages %}{{ m.role[0] + m.content + 'y' }}{% endfor %}"
        "{% if add_generation_prompt %}a{% endif %}",
    )
)
MODEL = random_model("llama", seed=0, vocab_size=26, context_length=512)


def local(**options):
    return Local(MODEL, tokenizer=LETTERS, **{"n_blocks": 2048, **options})


def run(engine, work):
    """`work(engine)` in an entered engine; afterwards nothing is running and no block is held."""

    async def inside():
        async with engine:
            try:
                return await work(engine)
            finally:
                assert_at_rest(engine)
                others = asyncio.all_tasks() - {asyncio.current_task(), engine.driver.task}
                assert not others, others

    return asyncio.run(inside())


def assert_at_rest(engine):
    """Law 19 at drain: nobody waits or runs, and every block is free or cached."""
    scheduler = engine.scheduler
    scheduler.check()
    assert not scheduler.ids and not engine.driver.arrivals and not engine.driver.pending
    pool = scheduler.memory.pool
    assert not any(pool.refs) and pool.n_available == pool.n_blocks
