"""The simulations by small examples whose numbers are known, and the ways out of a table."""

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.engine.simulate import SIMULATIONS, run
from refimpl.engine.simulate.buddy import Buddy
from refimpl.engine.simulate.counting import chat, few_shot
from refimpl.engine.simulate.hits import hits
from refimpl.engine.simulate.lengths import ALPACA, SHAREGPT, from_trace
from refimpl.engine.simulate.sharing import saved_share
from refimpl.engine.simulate.sources import MOONCAKE, find
from refimpl.engine.simulate.starvation import starvation
from refimpl.engine.simulate.table import Table
from refimpl.engine.simulate.traces import blocks_of, hit_rate_hashed, hit_rate_radix, traces
from refimpl.engine.simulate.waste import contiguous, paged, waste
from refimpl.errors import FormatError, InputError
from refimpl.kv.eviction import LRU
from tests.laws.engines import shapes_unchecked


@pytest.fixture(autouse=True, scope="module")
def fast():
    """The scheduler's shapes are checked elsewhere; here are thousands of steps."""
    with shapes_unchecked():
        yield


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=40), st.integers(1, 200))
def test_buddies_never_overlap_and_come_together_again(asks, n_slots):
    memory, held = Buddy(n_slots), []
    whole = {size: sorted(starts) for size, starts in memory.free.items() if starts}
    for n, gives_back in asks:
        if gives_back and held:
            memory.give_back(held.pop(n % len(held)))
        elif memory.can_take(n):
            piece = memory.take(n)
            assert n <= piece.size < 2 * n and piece.start + piece.size <= n_slots
            assert all(
                piece.start + piece.size <= other.start or other.start + other.size <= piece.start
                for other in held
            )
            held.append(piece)
    for piece in held:
        memory.give_back(piece)
    assert {size: sorted(starts) for size, starts in memory.free.items() if starts} == whole


def test_contiguous_waste_of_one_request_is_arithmetic():
    """A prompt of 4 with an answer of 4, and a second that never fits beside it, in 16 slots."""
    use = contiguous([(4, 4), (4, 4)], 16, "max", 16)
    # only the first is measured: nobody waits behind the second
    assert use.n_steps == 4 and use.running == 4
    assert use.tokens == 4 + 5 + 6 + 7
    assert use.reserved == 4 + 3 + 2 + 1
    assert use.internal == 4 * 8


def test_paged_waste_of_one_request_is_arithmetic():
    use = paged([(4, 5), (13, 4)], 16, 4)  # the second needs four blocks, and three are free
    assert use.tokens == 4 + 5 + 6 + 7 + 8
    assert use.internal == 0 + 3 + 2 + 1 + 0


def test_one_prompt_of_two_blocks_shared_by_two_samples():
    # 8 + 1 tokens at block size 4: the prompt in two shared blocks, then one block each
    assert saved_share([(8, 2)], 2, 4) == 1 - 4 / 6


def test_lengths_have_the_published_means():
    for lengths, prompt, answer in ((SHAREGPT, 161.31, 337.99), (ALPACA, 19.31, 58.45)):
        rng = Random(1)
        pairs = [lengths(rng) for _ in range(20_000)]
        assert sum(p for p, _ in pairs) / 20_000 == pytest.approx(prompt, rel=0.03)
        assert sum(a for _, a in pairs) / 20_000 == pytest.approx(answer, rel=0.03)
        assert max(p + a for p, a in pairs) <= 2048


def test_the_paged_pool_comes_near_the_published_figure():
    table = waste(n_requests=120, block_sizes=(16,))
    rows = {row[0]: row for row in table.rows}
    tokens = {name: row[2] for name, row in rows.items()}
    assert tokens["contiguous, max"] < tokens["contiguous, pow2"] < tokens["contiguous, oracle"]
    assert tokens["paged, 16"] == pytest.approx(96.3, abs=3)
    assert rows["contiguous, max"][6] == pytest.approx(7, abs=0.1)  # 7 * 2048 <= 15700
    for row in table.rows:
        assert sum(row[2:6]) == pytest.approx(100)


def test_hit_rates_rise_with_capacity_and_meet_the_trace():
    lines = [json.dumps({"hash_ids": ids}) for ids in ([1, 2, 3], [4, 5, 6], [1, 2, 3], [4, 5, 6])]
    rates = [hit_rate_hashed(blocks_of(lines), n) for n in (3, 4, 6)]
    assert rates == [0, 2 / 12, 0.5]  # of four blocks, two heads survive
    assert hit_rate_radix(blocks_of(lines), 6, LRU()) == 0.5


@pytest.mark.parametrize("line", ["{", "[]", '{"ids": []}', '{"hash_ids": ["x"]}'])
def test_a_trace_that_is_none_is_refused_with_its_line(line):
    with pytest.raises(FormatError, match="line 1"):
        list(blocks_of([line]))


def test_a_trace_is_asked_for_and_found(tmp_path):
    with pytest.raises(InputError, match="needs a trace"):
        find(None, MOONCAKE)
    with pytest.raises(InputError, match="holds no"):
        find(tmp_path, MOONCAKE)
    (tmp_path / "b_trace.jsonl").touch()
    (tmp_path / "a_trace.jsonl").touch()
    assert find(tmp_path, MOONCAKE).name == "a_trace.jsonl"


def test_the_trees_hit_rate_is_the_counted_one():
    """PEERS: 0.6037, 0.7500, 0.856, 0.984.  A chat loses the last token of each answer."""
    rows = {row[0]: row for row in hits(scale=0.02, policies=()).rows}
    short, long = rows["counted: chat, 384 in, 6 out"], rows["counted: chat, 384 in, 384 out"]
    assert short[3] == pytest.approx(60.37, abs=0.01) and long[3] == pytest.approx(75, abs=1e-9)
    assert short[2] == pytest.approx(100 * chat(4, 384, 6, n_last=1), abs=1e-9)
    assert long[2] == pytest.approx(100 * chat(4, 384, 384, n_last=1), abs=1e-9)
    for shared, own, n in ((600, 100, 20), (1800, 20, 4)):  # scaled: 1000 and 200 questions
        name = f"counted: {shared} shared, {50 * n} asked"
        assert rows[name][2] == pytest.approx(100 * few_shot(shared, own, n), abs=1e-9)


def test_no_trace_of_lengths_without_its_columns(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="ContextTokens"):
        from_trace(tmp_path / "bad.csv")


def test_real_traces(shared):
    table = traces(
        path=shared / "traces" / "mooncake_synthetic_trace.jsonl",
        capacities=(1000, 100_000),
        policies=("lru",),
    )
    small, large = table.rows[0][2], table.rows[2][2]
    assert small < 10 and large == pytest.approx(63.96, abs=0.01)  # 1 - distinct / all blocks
    lengths = from_trace(shared / "traces" / "AzureLLMInferenceTrace_code.csv")
    assert waste(n_requests=30, lengths=lengths, context=8192, n_slots=65_536, block_sizes=(16,))


def test_no_policy_beats_the_best_and_cache_aware_beats_fcfs_where_memory_is_short():
    table = hits(scale=0.1, n_slots=6_000, policies=("fcfs", "lpm"))
    rates = {(row[0], row[1]): row[2] for row in table.rows}
    assert all(row[2] <= row[3] + 1e-9 for row in table.rows)
    assert rates["MMLU, 5 shots", "lpm"] >= rates["MMLU, 5 shots", "fcfs"]


def test_only_ageing_bounds_the_cold_requests_wait():
    rows = {row[0]: row for row in starvation(n_passes=120).rows}
    assert rows["fcfs"][2] == 8
    assert rows["lpm"][2] > 3 * rows["fcfs"][2]
    assert rows["ageing, 64"][2] <= 512 / 64 + 8


TABLE = Table(
    title="A <title>",
    columns=("name", "x", "y"),
    rows=[("a", 1, 2.0), ("a", 10, 3.0), ("b", 1, None)],
    x="x",
    y="y",
    by="name",
    log_x=True,
)


def test_a_table_as_csv_json_and_svg(tmp_path):
    assert list(csv.reader(io.StringIO(TABLE.csv())))[1] == ["a", "1", "2.0"]
    assert json.loads(TABLE.json())["rows"][2] == {"name": "b", "x": 1, "y": None}
    assert Table.of(json.loads(TABLE.json())) == TABLE
    for suffix in (".csv", ".json", ".svg"):
        TABLE.save(tmp_path / f"t{suffix}")
    picture = ET.parse(tmp_path / "t.svg").getroot()
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 1
    with pytest.raises(InputError, match="should end in"):
        TABLE.save(Path("t.xlsx"))


@pytest.mark.parametrize("name", sorted(set(SIMULATIONS) - {"traces"}))
def test_every_table_can_be_drawn(name):
    small = {
        "waste": {"n_requests": 40, "block_sizes": (16, 64)},
        "sharing": {"n_requests": 3},
        "hits": {"scale": 0.02},
        "starvation": {"n_passes": 30},
    }
    seen = []

    def track(cases):
        seen.extend(cases)
        return cases

    ET.fromstring(run(name, track=track, **small[name]).svg())
    assert seen, "long work tells that it goes on"


def test_an_unknown_table_is_named():
    with pytest.raises(InputError, match="choose one of waste"):
        run("speed")
