"""Laws 19, 21, 24 for whole leases: no cache, hashed blocks and radix tree keep one contract."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from refimpl.kv.blocks import BlockPool, OutOfBlocksError, Sharing
from refimpl.kv.eviction import POLICIES
from refimpl.kv.hashed import HashedMemory
from refimpl.kv.lease import Lease, Memory, Move, SwapIn, SwapOut
from refimpl.kv.tree import RadixMemory

STORY = [0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1]
PROMPT = st.builds(
    lambda n, end: STORY[:n] + end,
    st.integers(0, len(STORY)),
    st.lists(st.integers(0, 1), min_size=1, max_size=5),
)
STEPS = st.lists(st.sampled_from([0, 1, 4, 21]), max_size=6)  # 0: out to the host
BOOLEAN = st.booleans()
N_BLOCKS, N_HOST = 14, 8


def new_memory(kind: str, block_size: int, policy: str = "lru") -> Memory:
    pool = BlockPool(n_blocks=N_BLOCKS, block_size=block_size)
    host = BlockPool(n_blocks=N_HOST, block_size=block_size)
    if kind == "radix":
        return RadixMemory(pool, host=host, policy=POLICIES[policy]())
    return {"plain": Memory, "hashed": HashedMemory}[kind](pool, host=host)


def everything(memory: Memory, leases: list[Lease]) -> tuple:
    """All that an act on a memory could change."""
    pool = memory.pool
    tables = [(list(lease.table.blocks), list(lease.host_blocks)) for lease in leases]
    cache = list(memory.cache.waiting) if isinstance(memory, HashedMemory) else None
    tree = str(memory.tree) if isinstance(memory, RadixMemory) else None
    return list(pool._free), list(pool.refs), list(pool.kept), tables, cache, tree


class Guest:
    def __init__(self, lease: Lease, n_computed: int = 0) -> None:
        self.lease, self.n_computed, self.where = lease, n_computed, "outside"


class Leases(RuleBasedStateMachine):
    """Guests open, grow, commit, fork, swap and close, and always read back their own tokens."""

    guests = Bundle("guests")

    kind = "plain"

    @initialize(
        block_size=st.sampled_from([1, 2, 3]),
        policy=st.sampled_from(sorted(POLICIES)),
    )
    def start(self, block_size: int, policy: str) -> None:
        self.size = block_size
        self.memory = new_memory(self.kind, block_size, policy)
        self.device = [-1] * (N_BLOCKS * block_size)
        self.host = [-1] * (N_HOST * block_size)
        self.live: list[Guest] = []

    def carry_out(self, moves: list[Move]) -> None:
        for move in moves:
            source = self.host if isinstance(move, SwapIn) else self.device
            target = self.host if isinstance(move, SwapOut) else self.device
            block = source[move.src * self.size : (move.src + 1) * self.size]
            target[move.dst * self.size : (move.dst + 1) * self.size] = block

    def compute(self, guest: Guest, n: int) -> None:
        for t in range(guest.n_computed, guest.n_computed + n):
            self.device[guest.lease.table.slots(t, t + 1)[0]] = guest.lease.tokens[t]
        guest.n_computed += n
        guest.lease.commit(guest.n_computed)

    @rule(target=guests, prompt=PROMPT, extra=st.sampled_from([(), ("salt",)]))
    def arrive(self, prompt: list[int], extra: tuple[str, ...]) -> Guest:
        guest = Guest(self.memory.lease(prompt, extra))
        self.live.append(guest)
        return guest

    @rule(guest=guests, n=st.sampled_from([1, 2, 5, 21]))
    def step(self, guest: Guest, n: int) -> None:
        """Open a waiting guest, bring back a swapped one, or let a running one go on."""
        lease = guest.lease
        if guest.where == "running" and guest.n_computed == len(lease.tokens):
            lease.tokens.append(1)
        hit = lease.match()
        assert hit.n_tokens < len(lease.tokens), "law 24: something is left to compute"
        start = hit.n_tokens if guest.where == "outside" else guest.n_computed
        n = min(n, len(lease.tokens) - start)
        can, act = {
            "outside": (lambda: lease.can_open(hit, n), lambda: lease.open(hit, n) or []),
            "running": (lambda: lease.can_grow(n), lambda: lease.grow(n)),
            "swapped": (lambda: lease.can_swap_in(n), lambda: lease.swap_in(n)),
        }[guest.where]
        if not can():
            self.refused(act)
            return
        self.carry_out(act())
        guest.where, guest.n_computed = "running", start
        self.compute(guest, n)

    def refused(self, act) -> None:
        """Law 21."""
        before = self.everything()
        with pytest.raises(OutOfBlocksError):
            act()
        assert self.everything() == before

    def everything(self) -> tuple:
        return everything(self.memory, [guest.lease for guest in self.live])

    @rule(target=guests, guest=guests, sharing=st.sampled_from(Sharing), less=st.integers(0, 3))
    def fork(self, guest: Guest, sharing: Sharing, less: int = 0) -> Guest:
        if guest.where != "running":
            return self.arrive(list(guest.lease.tokens), guest.lease.extra)
        n = max(1, guest.n_computed - less)  # at the end of what is computed, or a little before
        lease = guest.lease.fork(list(guest.lease.tokens), sharing, n_computed=n)
        child = Guest(lease, lease.table.n_tokens)
        child.where = "running"
        self.live.append(child)
        return child

    @rule(prompt=PROMPT, steps=STEPS, forks=BOOLEAN)
    def live_a_whole_life(self, prompt: list[int], steps: list[int], forks: bool) -> None:
        guest = self.arrive(prompt, ())
        for n in steps:
            self.step(guest, n) if n else self.swap_out(guest)
        lives = [guest, self.fork(guest, Sharing.COPY_ON_WRITE)] if forks else [guest]
        for one in lives:
            for n in steps[:3]:
                self.step(one, n or 1)
        self.vllm_names_every_full_block_of_a_running_guest()
        for one in lives:
            self.finish(one)

    @rule(guest=guests)
    def swap_out(self, guest: Guest) -> None:
        if guest.where != "running":
            return
        if not guest.lease.can_swap_out(guest.n_computed):
            self.refused(lambda: guest.lease.swap_out(guest.n_computed))
            return
        self.carry_out(guest.lease.swap_out(guest.n_computed))
        guest.where = "swapped"

    @rule(guest=guests)
    def preempt(self, guest: Guest) -> None:
        guest.lease.close()
        guest.where, guest.n_computed = "outside", 0

    @rule(guest=consumes(guests))
    def finish(self, guest: Guest) -> None:
        """What was computed stays cached: a follow-up finds all of its whole blocks."""
        if guest.where == "running":
            guest.lease.commit(guest.n_computed, finished=True)
        guest.lease.close()
        self.live.remove(guest)
        if guest.where == "running" and self.kind != "plain":
            computed = guest.lease.tokens[: guest.n_computed]
            follow_up = self.memory.lease([*computed, 0], guest.lease.extra)
            assert follow_up.match().n_tokens == guest.n_computed // self.size * self.size

    @invariant()
    def law_19_every_block_is_accounted_for(self) -> None:
        if hasattr(self, "memory"):
            self.memory.check(guest.lease for guest in self.live)

    @invariant()
    def vllm_names_every_full_block_of_a_running_guest(self) -> None:
        if self.kind == "hashed":
            for guest in getattr(self, "live", []):
                if guest.where == "running":
                    full = guest.lease.table.blocks[: guest.n_computed // self.size]
                    assert all(self.memory.pool.kept[block] for block in full)

    @invariant()
    def every_guest_reads_back_its_own_tokens(self) -> None:
        for guest in getattr(self, "live", []):
            if guest.where == "running":
                slots = guest.lease.table.slots(0, guest.n_computed)
                assert [self.device[s] for s in slots] == guest.lease.tokens[: guest.n_computed]
            if guest.where == "swapped":
                read = [
                    self.host[guest.lease.host_blocks[t // self.size] * self.size + t % self.size]
                    for t in range(guest.n_computed)
                ]
                assert read == guest.lease.tokens[: guest.n_computed]

    def teardown(self) -> None:
        """At drain every block is free or cached, and all that is cached can be given up."""
        if hasattr(self, "memory"):
            for guest in self.live:
                guest.lease.close()
            self.memory.check([])
            self.memory.pool.take(N_BLOCKS)


class HashedLeases(Leases):
    kind = "hashed"


class RadixLeases(Leases):
    kind = "radix"


TestPlainLeases = Leases.TestCase
TestHashedLeases = HashedLeases.TestCase
TestRadixLeases = RadixLeases.TestCase
SHORT = settings(stateful_step_count=25)
TestPlainLeases.settings = TestHashedLeases.settings = TestRadixLeases.settings = SHORT


@given(
    prompts=st.lists(st.tuples(PROMPT, BOOLEAN), max_size=6),
    kind=st.sampled_from(["plain", "hashed", "radix"]),
    size=st.sampled_from([1, 2, 4]),
    more=st.integers(1, 40),
)
def test_law_21_a_refusal_leaves_free_list_counts_and_cache_as_they_were(prompts, kind, size, more):
    """Some stay and some leave what they computed behind; then somebody asks for too much."""
    memory, stay = new_memory(kind, size), []
    for prompt, leaves in prompts:
        lease = memory.lease(list(prompt))
        hit = lease.match()
        if not lease.can_open(hit, len(prompt) - hit.n_tokens):
            continue
        lease.open(hit, len(prompt) - hit.n_tokens)
        lease.commit(len(prompt), finished=leaves)
        lease.close() if leaves else stay.append(lease)
    greedy = memory.lease([0] * 99)
    n = (memory.pool.n_available + 1) * size + more
    acts = [lambda: greedy.open(greedy.match(), n), *(lambda s=s: s.grow(n) for s in stay)]
    before = everything(memory, stay)
    for act in acts:
        with pytest.raises(OutOfBlocksError):
            act()
        assert everything(memory, stay) == before
        memory.check(stay)


@given(prompt=PROMPT, kind=st.sampled_from(["hashed", "radix"]), size=st.sampled_from([1, 2, 4]))
def test_law_24_a_full_prompt_hit_still_computes_at_least_one_token(prompt, kind, size):
    memory = new_memory(kind, size)
    first = memory.lease(list(prompt))
    if not first.can_open(first.match(), len(first.tokens)):
        return
    first.open(first.match(), len(first.tokens))
    first.commit(len(first.tokens), finished=True)
    again = memory.lease(list(first.tokens)).match()
    whole = len(first.tokens) // size * size
    assert again.n_tokens == min(whole, (len(first.tokens) - 1) // size * size)
