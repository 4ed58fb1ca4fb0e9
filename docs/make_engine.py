"""Write docs/engine.md and its plots from what bench/engine measured.

    python bench/engine/tables.py --traces DIR --json docs/engine.json
    python bench/engine/cost.py --json docs/engine-cost.json
    python docs/make_engine.py            rewrite the page and the plots
    python docs/make_engine.py --check    exit with status 1 if the page would change

The prose is here, our figures come from the JSON; what others published is quoted.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from refimpl.engine.simulate.table import Table

DOCS = Path(__file__).parent

PAGE = """# The engine: paged memory, prefix reuse, continuous batching

How vLLM and SGLang serve many requests at once, in code that runs, with the laws that say it may
not change a bit of anybody's answer. Every mechanism below is one file, and can be read alone.
This page is written by `docs/make_engine.py` from what `bench/engine` measured; none of our
figures is typed.

## Reading path

| read | to learn |
|---|---|
| [`kv/blocks`](../refimpl/kv/blocks.py) | blocks, reference counts, block tables, copy on write |
| [`kv/prefix`](../refimpl/kv/prefix.py) | vLLM's prefix cache: blocks named by chained hashes |
| [`kv/radix`](../refimpl/kv/radix.py), [`kv/eviction`](../refimpl/kv/eviction.py) | SGLang's \
prefix cache: a tree, what may be evicted from it, and in which order |
| [`kv/lease`](../refimpl/kv/lease.py) | what a scheduler asks of any cache: none \
([`lease`](../refimpl/kv/lease.py)), hashes ([`hashed`](../refimpl/kv/hashed.py)) or tree \
([`tree`](../refimpl/kv/tree.py)) |
| [`kv/plan`](../refimpl/kv/plan.py), [`kv/paged`](../refimpl/kv/paged.py) | a step as arrays; \
attention over blocks |
| [`engine/request`](../refimpl/engine/request.py) | why there is no prefill phase and no decode \
phase |
| [`engine/scheduler`](../refimpl/engine/scheduler.py), \
[`engine/roster`](../refimpl/engine/roster.py) | a step's budget dealt out; what becomes of its \
results |
| [`engine/policies`](../refimpl/engine/policies.py) | who goes first |
| [`engine/modes`](../refimpl/engine/modes.py), [`admission`](../refimpl/engine/admission.py), \
[`victims`](../refimpl/engine/victims.py) | when memory is short: who may start, who gives way, in \
vLLM and in SGLang |
| [`engine/core`](../refimpl/engine/core.py), [`engine/overlap`](../refimpl/engine/overlap.py) | \
the loop in six lines; the loop that does not wait |
| [`engine/runner`](../refimpl/engine/runner.py) | how one request's fault stays its own |

`refimpl show blocks`, `refimpl show radix` and `refimpl show schedule` write a page each on which a
small run of the embedded model can be followed step by step; `refimpl show blocks run.jsonl` draws
one that was recorded.

## One request, from the side of its memory

    tokens      | prompt .............................. | output .......... | pending |
    computed    | n_computed                                     | to compute         |
    cached      | taken from the cache |                          (never the last token:
    table       | full, maybe shared  | full | full | full | part      its logits are needed)
                                                             ^ the only block it writes into

A step gives every running request some of its uncomputed tokens: one, if it is decoding; a chunk,
if its prompt is long. When none is left uncomputed, the step's last logits choose the next token.
Preemption sets `n_computed` to zero, or moves the blocks to the host; nothing else is special about
it. That is the whole state machine of continuous batching.

## Two ways to share, two ways to remember

The 2023 paper shares the partial last block of a prompt too, and copies it when somebody writes
(`Sharing.COPY_ON_WRITE`). vLLM today shares full blocks only, found by hash, and computes the
partial one again; tables only grow, and two blocks may hold the same tokens
(`Sharing.APPEND_ONLY`). The first saves a little computation, the second needs no copies and no
special case. Both are here, on the same pool; law 22 counts the copies.

For remembering, vLLM keeps a dictionary from hashes to blocks, SGLang a tree. Under the same
scheduler they give the same bits. What differs is bookkeeping:

| | hashed blocks | radix tree |
|---|---|---|
| granularity | whole blocks (16) | pages, usually of one token |
| a match costs | one hash and one look-up a block | a walk over tokens compared in bulk |
| duplicates computed at the same time | both stay | the second's table is changed to name the \
first's pages |
| evicted first | the block idle for longest; a table frees its last block first | the leaf with \
the smallest key: LRU, LFU, FIFO, MRU, priority |
| an entry is protected by | its reference count | a lock on its whole path |
| a cache-aware policy asks | the length of the match | also where in the tree it ends \
(`dfs-weight`) |

Three places where we do as the real engines do only in effect. vLLM names a block when it is
*scheduled*, so that a request of the same step can already hit it; here a block is named when it
*is computed*, so a failed step leaves no trace, and a request that comes one step later hits it.
SGLang's `match_prefix` cuts nodes; here `match` is pure and `split` is its own act. SGLang builds
the heap of evictable leaves anew at each eviction; here it is kept, with entries allowed to go
stale.

## What holds

`tests/laws` runs laws 1-11, 15 and 18-26 as hypothesis tests, bitwise, on small random models; the
stateful ones (pool, leases, tree, engine under fire) call `check()` after every rule. Two of the
laws as first written need a condition, and a test shows why:

- **25**, "the prefix cache never increases the tokens computed", holds as long as nobody is
  preempted by recomputation. A hit admits a request earlier; if it later has to give way, it may
  recompute more than it saved (`test_law_25_needs_its_condition`: 30 tokens without the cache, 32
  with it).
- **26**, the bound on waiting with ageing, holds if no more requests arrive than are admitted per
  pass. Ageing by N tokens a pass orders the queue so that whoever comes ceil(match / N) passes
  later stands behind; it cannot help if a hundred come in every one of those passes.

## The published tables, made again

`refimpl simulate NAME` runs the real scheduler, pools and trees without a model. All figures below
are its output with default options; `--csv`, `--json` and `--plot FILE.svg` give them to a program.

### KV memory waste (vLLM paper, figures 2 and 13a)

`refimpl simulate waste`: room for {slots} tokens, more requests than can be served. In percent of
all slots, averaged over steps:

{waste}

![Memory that holds tokens, by block size](engine-waste.svg)

A paged sequence wastes the rest of its last block: on average (block size - 1) / 2 slots, whatever
its length, and the last two columns say so.

Why ours are not theirs: ShareGPT's lengths are not ours to ship, so they are drawn from log-normal
laws with its published means (161 and 338), and the queue never runs dry, where theirs was fed 2
requests a second. The other parts of the paper's first bar (13.3 reserved, 57.3 internal, 8.9
external) come out as {max_parts}. Its paged system used 96.3 % with blocks of 16; ours {paged16} %.

With the lengths of the Azure code trace (`--lengths azure --traces DIR`; 2,048 prompt tokens and 28
of answer, on average) and a context of 8192 the order is the same, and knowing the answer's length
hardly helps, since answers are short:

{azure}

### Parallel sampling (vLLM paper, figure 15a)

`refimpl simulate sharing`: blocks saved by sharing the prompt, block size 16, in percent:

{sharing}

Ours are lower. Prompts and answers are independent draws here, and all samples of a prompt end
together; what is saved depends on how the two lengths go together, since a long prompt with a short
answer saves most, and those pairs are not ours to ship.

### Hit rates (SGLang paper, section 6.2)

`refimpl simulate hits`: {cache_slots} tokens of cache, {at_once} programs at a time, percent of
prompt tokens found:

{hits}

![Hit rates](engine-hits.svg)

The paper gives a range, 50 % to 99 %, and says that its policy reached 96 % of the best on average;
no figure for each workload is printed in its text. Our best lie between {best}.

Longest prefix reaches {lpm_range} % of the best on the first three, and {lpm_chat} % on the chats:
so many conversations of thousands of tokens do not fit {cache_slots} slots, and a turn that has to
wait finds its history evicted. With 16 programs at a time the short chats reach {chat16} % of the
best. First come, first served keeps nothing of a chat: between two turns everybody else's history
has passed through the cache. The shapes of the chats are the paper's; those of the other workloads
(lengths of examples and questions) are ours.

The simulation itself is checked by shapes so simple that the hit rate can be counted
([`simulate/counting`](../refimpl/engine/simulate/counting.py)); one request at a time, percent:

{counted}

What the chats lack is the last token of each answer: it was drawn and never computed, so no cache
has it.

### Who waits (one arrival a pass, one in {every} cold)

`refimpl simulate starvation`: passes before admission. Every hot request shares {shared} cached
tokens, a cold one nothing:

{starvation}

With longest prefix first a cold request waits until the stream ends, however long that is. With
ageing by N tokens a pass it waits at most {shared} / N passes, and those before it (law 26): the
longest wait falls from {lpm_wait} to {aged_waits}. No paper prints this table; SGLang's leaves
starvation to future work.

### Hit rate against cache size (a Mooncake trace of 3,993 requests, blocks of 512 tokens)

`refimpl simulate traces --traces DIR`, percent of blocks found:

{traces}

![Hit rate against cache size](engine-traces.svg)

{ceiling} is the bound: one less the share of distinct blocks. The published figures (Mooncake,
table 1) are for 23,608 other requests of the same service, among which a few blocks are very hot;
ours is their synthetic trace, with reuse spread wide, which needs a larger cache. LRU beats LFU in
small caches on both. The tree evicts whole leaves, the pool single blocks: hence the last tenths.

## What it costs

`python bench/engine/cost.py`: CPU time of one thread of a shared machine ({cpus} CPUs, CPython
{python}), the least of several repetitions; other processes still cost cache and clock. The
exponent is the slope of log cost over log size: 0 is flat.

{steps}

{exponents}

Per request, per token and per cached token the cost stays where it is. What grows a little with the
size of a cache is the processor's own: a larger working set misses its caches more often.
Longest prefix is dearest at {lpm_peak} waiting, where every pass matches each of them; above 128 it
falls back to first come, first served, as SGLang's does.

![A decoding step](engine-cost-step.svg)
![The same with a queue](engine-cost-queue.svg)
![Admitting a prompt](engine-cost-admission.svg)
![Taking and giving back blocks](engine-cost-blocks.svg)
![Cache operations](engine-cost-cache.svg)

## What is left out

Beam search and speculation stand on this engine ([speculation.md](speculation.md)). There is one
kind of attention layer a cache: windows are honoured by attention, but their blocks are not freed
early (vLLM's hybrid cache). Swapping moves all of a request's blocks, shared ones too.
"""

PLOTS = {"waste": "waste", "hits": "hits", "traces": "traces"}
COST_PLOTS = {
    "A decoding step": "step",
    "The same, 256 running": "queue",
    "Admitting a prompt": "admission",
    "Taking and giving back blocks": "blocks",
    "Cache operations on 400 tokens": "cache",
}
Rows = list[dict[str, Any]]


def cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def by(rows: Rows, **wanted: Any) -> dict[str, Any]:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def waste_table(told: dict[str, Any], *, published: bool) -> str:
    n_slots, rows = told["options"]["n_slots"], told["rows"]
    keys = ["system", "tokens %", "reserved %", "internal %", "external %", "running"]
    head = [*keys[:1], *(key.removesuffix(" %") for key in keys[1:])]
    if published:
        head += ["published: tokens", "running", "wasted a sequence", "(block - 1) / 2"]
    lines = []
    for row in rows:
        line = [row[key] for key in keys]
        if published:
            size, seen = row["block size"], [row["published tokens %"], row["published running"]]
            wasted = row["internal %"] / 100 * n_slots / row["running"] if size else None
            line += [*seen, wasted, (size - 1) / 2 if size else None]
        lines.append(line)
    return table(head, lines)


def share_table(rows: Rows) -> str:
    lines = []
    for name in dict.fromkeys(row["lengths"] for row in rows):
        mine = [row for row in rows if row["lengths"] == name]
        lines.append([f"{name}'s means", *(row["saved %"] for row in mine)])
        lines.append([f"{name}, published", *(row["published %"] for row in mine)])
    samples = list(dict.fromkeys(row["samples"] for row in rows))
    return table(["", *(f"{n} samples" for n in samples)], lines)


def hit_facts(told: dict[str, Any], few: dict[str, Any]) -> dict[str, Any]:
    rows = [row for row in told["rows"] if row["policy"] != "one by one"]
    counted = [row for row in told["rows"] if row["policy"] == "one by one"]
    names = {"fcfs": "first come", "lpm": "longest prefix"}
    lines = []
    for workload in dict.fromkeys(row["workload"] for row in rows):
        mine = [row for row in rows if row["workload"] == workload]
        lines.append([workload, *(row["hit rate %"] for row in mine), mine[0]["best %"]])
    policies = dict.fromkeys(row["policy"] for row in rows)
    head = ["", *(names.get(p, p) for p in policies), "the best there is"]
    reached = {r["workload"]: r["of the best %"] for r in rows if r["policy"] == "lpm"}
    chats = [v for name, v in reached.items() if name.startswith("chat")]
    others = [v for name, v in reached.items() if not name.startswith("chat")]
    best = [line[-1] for line in lines]
    return {
        "hits": table(head, lines),
        "best": f"{min(best):.0f} and {max(best):.0f} %",
        "lpm_range": f"{min(others):.0f} to {max(others):.0f}",
        "lpm_chat": f"{min(chats):.0f} to {max(chats):.0f}",
        "chat16": cell(by(few["rows"], workload="chat, 4 turns, short")["of the best %"]),
        "counted": table(["", "simulated", "counted"], map(two_decimals, counted)),
    }


def two_decimals(row: dict[str, Any]) -> list[str]:
    name = row["workload"].removeprefix("counted: ")
    return [name, f"{row['hit rate %']:.2f}", f"{row['best %']:.2f}"]


def starvation_facts(told: dict[str, Any]) -> dict[str, Any]:
    rows = told["rows"]
    keys = ["policy", "cold, mean", "cold, longest", "hot, mean", "hot, longest"]
    aged = [row["cold, longest"] for row in rows if row["policy"].startswith("ageing")]
    return {
        "starvation": table(keys, [[row[key] for key in keys] for row in rows]),
        "shared": told["options"]["n_shared"],
        "every": told["options"]["every"],
        "lpm_wait": by(rows, policy="lpm")["cold, longest"],
        "aged_waits": ", ".join(map(str, aged[:-1])) + f" and {aged[-1]}",
    }


def trace_facts(told: dict[str, Any]) -> dict[str, Any]:
    rows = told["rows"]
    sizes = list(dict.fromkeys(row["blocks"] for row in rows))
    lines = [
        [name, *(by(rows, cache=name, blocks=n)["hit rate %"] for n in sizes)]
        for name in dict.fromkeys(row["cache"] for row in rows)
    ]
    seen = [by(rows, cache=rows[0]["cache"], blocks=n)["published, other trace %"] for n in sizes]
    return {
        "traces": table(
            ["blocks", *(f"{n:,}" for n in sizes)], [*lines, ["published, another trace", *seen]]
        ),
        "ceiling": cell(max(row["hit rate %"] for row in rows)),
    }


def cost_facts(cost: dict[str, Any]) -> dict[str, Any]:
    tables = {told["title"]: told for told in cost["tables"]}
    steps = tables["A step of 256 running requests"]["rows"]
    curves = [
        [title, *note.split(": grows as ")]
        for title in COST_PLOTS
        for note in tables[title]["notes"]
    ]
    lines = []
    for title, name, growth in curves:
        power = growth.rsplit(" ", 1)[1]
        rows = [row for row in tables[title]["rows"] if row["what"] == name]
        *_, x_key, y_key = rows[0]
        ends = [f"{row[y_key]:.3g} at {row[x_key]:,}" for row in (rows[0], rows[-1])]
        lines.append([title, name, y_key, *ends, power])
    queue = [r for r in tables["The same, 256 running"]["rows"] if r["what"] == "lpm"]
    peak = max(queue, key=lambda row: row["ms a step"])
    return {
        "steps": table(
            ["256 requests, each 1,000 tokens long", "ms a step, least", "median"],
            [[row["cache"], row["ms, least"], row["ms, median"]] for row in steps],
        ),
        "exponents": table(["what", "", "unit", "smallest", "largest", "exponent"], lines),
        "lpm_peak": peak["waiting requests"],
        **cost["machine"],
    }


def page(told: dict[str, Any], cost: dict[str, Any]) -> str:
    waste = told["waste"]["rows"]
    first = by(waste, system="contiguous, max")
    return PAGE.format(
        slots=f"{told['waste']['options']['n_slots']:,}",
        waste=waste_table(told["waste"], published=True),
        max_parts=", ".join(cell(first[f"{k} %"]) for k in ("reserved", "internal", "external")),
        paged16=cell(by(waste, system="paged, 16")["tokens %"]),
        azure=waste_table(told["waste, Azure's lengths"], published=False),
        sharing=share_table(told["sharing"]["rows"]),
        cache_slots=f"{told['hits']['options']['n_slots']:,}",
        at_once=told["hits"]["options"]["at_once"],
        **hit_facts(told["hits"], told["hits, 16 at once"]),
        **starvation_facts(told["starvation"]),
        **trace_facts(told["traces"]),
        **cost_facts(cost),
    )


def main() -> None:
    told = json.loads((DOCS / "engine.json").read_text())
    cost = json.loads((DOCS / "engine-cost.json").read_text())
    text = page(told, cost)
    target = DOCS / "engine.md"
    if "--check" in sys.argv:
        sys.exit(text != (target.read_text() if target.exists() else ""))
    target.write_text(text)
    for name, file in PLOTS.items():
        (DOCS / f"engine-{file}.svg").write_text(Table.of(told[name]).svg())
    for one in cost["tables"]:
        if one["title"] in COST_PLOTS:
            file = COST_PLOTS[one["title"]]
            (DOCS / f"engine-cost-{file}.svg").write_text(Table.of(one).svg())


if __name__ == "__main__":
    main()
