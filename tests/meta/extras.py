"""Checks that fixtures of the ordinary tests make, in a form that can be called by itself."""

import random
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest

from refimpl.engine.limits import Limits
from refimpl.engine.request import Request
from refimpl.engine.scheduler import Scheduler
from refimpl.errors import InputError
from refimpl.formats.gguf import GGUF
from refimpl.formats.gguf.cursor import GGUFError
from refimpl.grammar import gbnf
from refimpl.grammar.constraint import Constraint, compile_json_schema
from refimpl.grammar.machine import Machine
from refimpl.grammar.masks import Masks, Vocabulary, brute_force, pack
from refimpl.kv.blocks import BlockPool
from refimpl.kv.lease import Memory
from refimpl.model.stream import StopWatch
from refimpl.sampling import SamplingParams
from refimpl.sampling.verify import judge
from refimpl.text import IncrementalDecoder
from refimpl.text.tokenizer import Tokenizer
from refimpl.text.vocabulary import Vocabulary as Words

# grammar masks

NESTED = r"""
root ::= "[" (item ("," item)*)? "]"
item ::= root | "{" root "}" | "a"
"""
TOKENS = [b"", b"[", b"]", b"[[", b"]]", b",", b"a", b"a,", b"]", b"{", b"}", b"]}", b"}]", b"b"]
TOKENS += [b"]]]", b"]]]]"]
VOCABULARY = Vocabulary.of(TOKENS, stops=[0])


def masks_are_what_brute_force_says():
    """Law 27, on nested brackets: what may close depends on how deep the stack is."""
    lists = {"$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/l"}}}, "$ref": "#/$defs/l"}
    for machine in (
        Machine(gbnf.grammar(NESTED)),
        compile_json_schema(lists, VOCABULARY).machine,
    ):
        masks, rnd = Masks(machine, VOCABULARY), random.Random(0)
        for _ in range(12):
            state = machine.start
            for _ in range(12):
                assert np.array_equal(masks.mask(state), brute_force(machine, state, VOCABULARY))
                after = [t for t in TOKENS[1:] if machine.advance(state, t) is not None]
                if not after:
                    break
                state = machine.advance(state, rnd.choice(after))


def a_packed_mask_has_bit_i_for_token_i():
    allowed = np.zeros(70, bool)
    allowed[[0, 33, 69]] = True
    assert pack(allowed).tolist() == [1, 2, 1 << 5]


def a_stop_is_refused_before_the_end():
    constraint = Constraint(gbnf.grammar(NESTED), VOCABULARY)
    with pytest.raises(InputError, match="not allowed here"):
        constraint.advance(constraint.start, 0)


# seats


def a_family_waits_until_all_its_seats_are_free():
    """One seat is taken, and a prompt with a second sample needs two of the two."""
    memory = Memory(BlockPool(n_blocks=20, block_size=4))
    scheduler = Scheduler(memory, Limits(max_seqs=2))
    new = lambda id, **more: Request(id=id, prompt=(1, 2), params=SamplingParams(), **more)
    parent = new("p")
    parent.unborn = [new("p1", is_unborn=True)]
    scheduler.add(new("a"))
    scheduler.add(parent)
    scheduler.schedule()
    assert list(scheduler.running) == ["a"]


def nobody_takes_the_seat_of_an_unborn_sample():
    """The prompt is computed in two chunks; its second sample will need the second seat."""
    memory = Memory(BlockPool(n_blocks=20, block_size=4))
    scheduler = Scheduler(memory, Limits(max_seqs=2, max_batched_tokens=3))
    new = lambda id, n, **more: Request(id=id, prompt=(1,) * n, params=SamplingParams(), **more)
    parent = new("p", 4)
    parent.unborn = [new("p1", 4, is_unborn=True)]
    scheduler.add(parent)
    scheduler.schedule()
    scheduler.add(new("a", 1))
    scheduler.schedule()
    assert list(scheduler.running) == ["p"]


# speculation


def a_drafted_token_has_the_models_law():
    """Leviathan et al., theorem 3.5, by enumeration: a fine grid of both numbers."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    grid = (np.arange(64) + 0.5) / 64
    counts = np.zeros(3)
    for token in range(3):
        for chance in grid:
            for recover in grid:
                _, drawn = judge(p, [(token, q)], [chance], recover=recover)
                counts[drawn] += q[token] / len(grid) ** 2
    assert np.abs(counts - p).max() < 1 / 32


# GGUF

STRING, U32, ARRAY = 8, 4, 9


def name(text):
    return struct.pack("<Q", len(text)) + text.encode()


def tensor(label, dims, offset):
    sizes = b"".join(struct.pack("<Q", d) for d in dims)
    head = name(label) + struct.pack("<I", len(dims)) + sizes
    return head + struct.pack("<IQ", 0, offset)


def gguf_bytes(tensors, data, n_tensors=None):
    """As the specification writes it, by nothing of ours."""
    keys = name("general.name") + struct.pack("<I", STRING) + name("tiny")
    keys += name("words") + struct.pack("<IIQ", ARRAY, STRING, 2) + name("on") + name("ce")
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors) if n_tensors is None else n_tensors, 2)
    head += keys + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


WEIGHTS = np.arange(6, dtype="<f4").reshape(2, 3)
BIAS = np.float32([7, 8])
TENSORS = [tensor("w", [3, 2], 0), tensor("b", [2], 32)]
DATA = WEIGHTS.tobytes() + bytes(8) + BIAS.tobytes()


def opened(raw):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        path.write_bytes(raw)
        file = GGUF.open(path)
        return dict(file.metadata), {n: np.array(file.tensor(n)) for n in file.tensors}


def a_gguf_file_is_read_as_written():
    metadata, tensors = opened(gguf_bytes(TENSORS, DATA))
    assert metadata == {"general.name": "tiny", "words": ["on", "ce"]}
    assert np.array_equal(tensors["w"], WEIGHTS) and np.array_equal(tensors["b"], BIAS)


def a_gguf_file_cut_anywhere_is_refused():
    raw = gguf_bytes(TENSORS, DATA)
    for size in range(len(raw)):
        with pytest.raises(GGUFError):
            opened(raw[:size])


def overlapping_tensors_are_refused():
    with pytest.raises(GGUFError, match="another tensor"):
        opened(gguf_bytes([tensor("w", [16], 0), tensor("b", [2], 32)], bytes(64)))


def an_absurd_count_is_refused_before_anything_is_read():
    with pytest.raises(GGUFError, match="cannot fit"):
        opened(gguf_bytes(TENSORS, DATA, n_tensors=1 << 60))


# text

BYTES = Tokenizer(
    Words(
        alphabet="characters",
        merge_by="score",
        tokens=("▁a", "▁b", *(f"<0x{b:02X}>" for b in "é".encode())),
        scores=(0.0,) * 4,
        types=(1, 1, 6, 6),
        space_prefix="always",
        unknown_id=None,
        normalizer=(("replace", " ", "▁"),),
    )
)


def streamed(ids):
    stream = IncrementalDecoder(BYTES)
    return "".join([*(stream.push(id) for id in ids), stream.flush()])


def a_stream_is_the_whole_text():
    for ids in ([0, 2, 3, 1], [2], [0, 2], [2, 2, 3], []):
        assert streamed(ids) == BYTES.decode(ids)


def a_stream_keeps_its_spaces():
    assert streamed([0, 1, 0]) == "a b a"


def the_first_stop_string_ends_it():
    stream = StopWatch(("END", "FIN"))
    assert stream.push("a FIN b END") == "a "
    assert stream.stopped
