"""Every filter against llama.cpp's own samplers, called one by one on the same logits.

llama.cpp computes in float32 and sorts unstably, so laws are compared to 1e-5 and logits are
distinct.  The cases are drawn with fixed seeds; where the two differ on purpose, or by a defect of
llama.cpp, a test says so by its name.
"""

import ctypes

import numpy as np
import pytest

from refimpl.sampling import LLAMA_CPP_ORDER, SamplingParams, law, process, softmax
from refimpl.sampling.dry import dry
from refimpl.sampling.mirostat import cut_surprising, next_mu
from refimpl.sampling.truncate import typical

llama_cpp = pytest.importorskip("llama_cpp", minversion="0.3.36")
pytestmark = pytest.mark.external

VOCAB = 40
CASES = 60


class Candidates:
    """A llama_token_data_array over the whole vocabulary."""

    def __init__(self, logits):
        entries = [llama_cpp.llama_token_data(i, float(x), 0.0) for i, x in enumerate(logits)]
        self.data = (llama_cpp.llama_token_data * len(entries))(*entries)
        self.array = llama_cpp.llama_token_data_array(
            ctypes.cast(self.data, llama_cpp.llama_token_data_p), len(entries), -1, False
        )

    def apply(self, sampler):
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(self.array))
        return self

    def logits(self, vocab):
        """What is left, in the order of the ids; removed tokens are -inf."""
        out = np.full(vocab, -np.inf)
        for i in range(self.array.size):
            out[self.array.data[i].id] = self.array.data[i].logit
        return out

    @property
    def chosen(self):
        return self.array.data[self.array.selected].id


def theirs(sampler, logits, history=()):
    """The law llama.cpp's sampler leaves, after it has seen the history."""
    for token in history:
        llama_cpp.llama_sampler_accept(sampler, int(token))
    left = Candidates(logits).apply(sampler).logits(len(logits))
    llama_cpp.llama_sampler_free(sampler)
    return softmax(left)


def cases(seed, low=0.05, high=0.95):
    """Distinct float32 logits, a parameter in a range, and a history that repeats itself."""
    rng = np.random.default_rng(seed)
    for _ in range(CASES):
        logits = np.float32(rng.normal(scale=rng.uniform(0.5, 4), size=VOCAB)).astype(float)
        history = [int(t) for t in rng.integers(0, 4, size=rng.integers(0, 30))]
        yield logits, float(np.float32(rng.uniform(low, high))), history


def agree(sampler, logits, params, history=()):
    np.testing.assert_allclose(
        law(logits, params, history, order=LLAMA_CPP_ORDER),
        theirs(sampler, logits, history),
        rtol=2e-5,
    )


def test_top_k():
    for logits, k, _ in cases(1, 1, 60):
        agree(llama_cpp.llama_sampler_init_top_k(int(k)), logits, SamplingParams(top_k=int(k)))


def test_top_p():
    for logits, p, _ in cases(2):
        agree(llama_cpp.llama_sampler_init_top_p(p, 1), logits, SamplingParams(top_p=p))


def test_min_p():
    for logits, p, _ in cases(3):
        agree(llama_cpp.llama_sampler_init_min_p(p, 1), logits, SamplingParams(min_p=p))


def test_typical():
    for logits, p, _ in cases(4):
        agree(llama_cpp.llama_sampler_init_typical(p, 1), logits, SamplingParams(typical_p=p))


def test_top_n_sigma():
    for logits, n, _ in cases(5, 0.1, 3):
        sampler = llama_cpp.llama_sampler_init_top_n_sigma(n)
        agree(sampler, logits, SamplingParams(top_n_sigma=n))


def test_temperature():
    for logits, t, _ in cases(6, 0.1, 5):
        agree(llama_cpp.llama_sampler_init_temp(t), logits, SamplingParams(temperature=t))
    agree(llama_cpp.llama_sampler_init_temp(0.0), logits, SamplingParams(temperature=0.0))


def test_xtc():
    for logits, t, _ in cases(7, 0.01, 0.5):
        params = SamplingParams(xtc_probability=1.0, xtc_threshold=t)
        agree(llama_cpp.llama_sampler_init_xtc(1.0, t, 1, 0), logits, params)


def test_penalties():
    for logits, p, history in cases(8, 0.5, 2):
        window = max(1, len(history) // 2)
        sampler = llama_cpp.llama_sampler_init_penalties(VOCAB, window, p, 0.5, -0.25)
        params = SamplingParams(
            repetition_penalty=p,
            frequency_penalty=0.5,
            presence_penalty=-0.25,
            penalty_last_n=window,
        )
        agree(sampler, logits, params, history)


def dry_sampler(vocab, multiplier, base, allowed, window, breakers=()):
    strings = (ctypes.c_char_p * len(breakers))(*breakers)
    return llama_cpp.llama_sampler_init_dry(
        vocab, multiplier, base, allowed, window, strings, len(breakers)
    )


def test_dry():
    for logits, base, history in cases(9, 1, 3):
        window = max(1, len(history) - 3)
        params = SamplingParams(
            dry_multiplier=0.75, dry_base=base, dry_allowed_length=1, dry_penalty_last_n=window
        )
        agree(dry_sampler(None, 0.75, base, 1, window), logits, params, history)


def test_dry_caps_its_exponent_at_the_same_place():
    """A text of one token: llama.cpp's cap keeps the penalty finite in float32, and so in ours."""
    sampler = dry_sampler(None, 1e-30, 1.75, 2, 400)
    for _ in range(400):
        llama_cpp.llama_sampler_accept(sampler, 0)
    left = Candidates([0.0, 0.0]).apply(sampler).logits(2)
    ours = dry(np.zeros(2), [0] * 400, multiplier=1e-30)
    np.testing.assert_allclose(ours, left, rtol=1e-5)


@pytest.fixture(scope="module")
def gpt2(shared):
    """A vocabulary, for the breakers that llama.cpp takes as text."""
    path = shared / "tokenizers" / "ggml-vocab" / "ggml-vocab-gpt-2.gguf"
    settings = llama_cpp.llama_model_default_params()
    settings.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
    yield llama_cpp.llama_model_get_vocab(model)
    llama_cpp.llama_model_free(model)


def piece(vocab, token):
    buffer = ctypes.create_string_buffer(256)
    length = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
    return buffer.raw[:length]


def tokenize(vocab, text):
    tokens = (llama_cpp.llama_token * 32)()
    n = llama_cpp.llama_tokenize(vocab, text, len(text), tokens, len(tokens), False, False)
    return list(tokens[:n])


def breakers_of(vocab, pieces, text):
    """Token sequences that spell `text`, by llama.cpp's rule: a token that contains it, or one that
    ends with its beginning followed by the tokens of the rest."""
    found = []
    for token, word in enumerate(pieces):
        if text in word:
            found.append((token,))
            continue
        tails = [text[n:] for n in range(1, len(text)) if word.endswith(text[:n])]
        found += [(token, *tokenize(vocab, tail)) for tail in tails]
    return tuple(found)


def test_dry_with_breakers_of_one_and_of_two_tokens(gpt2):
    size = llama_cpp.llama_vocab_n_tokens(gpt2)
    pieces = [piece(gpt2, token) for token in range(size)]
    text = b"the cat qz sat. the cat qz sat: the cat qz"
    history = tokenize(gpt2, text) * 2
    limits = []
    for strings in ([], [b"\n"], [b":"], [b"qz"], [b"."], [b":", b"sat"]):
        breakers = tuple(b for s in strings for b in breakers_of(gpt2, pieces, s))
        sampler = dry_sampler(gpt2, 1.0, 1.5, 2, len(history), strings)
        for token in history:
            llama_cpp.llama_sampler_accept(sampler, token)
        left = Candidates(np.zeros(size)).apply(sampler).logits(size)
        llama_cpp.llama_sampler_free(sampler)
        params = SamplingParams(dry_multiplier=1.0, dry_base=1.5, dry_sequence_breakers=breakers)
        np.testing.assert_allclose(process(np.zeros(size), params, history), left, rtol=1e-5)
        limits.append(float(left.min()))
    assert len(set(limits)) >= 3  # the breakers made a difference


def test_mirostat_v2_step_by_step():
    """Their random numbers are their own: let them draw, compare the law, move mu with them."""
    tau, eta = 1.5, 0.25
    sampler = llama_cpp.llama_sampler_init_mirostat_v2(7, tau, eta)
    mu = 2 * tau
    for logits, _, _ in cases(10):
        allowed = cut_surprising(logits, mu)
        left = Candidates(logits).apply(sampler)
        np.testing.assert_allclose(softmax(allowed), softmax(left.logits(VOCAB)), rtol=1e-4)
        mu = next_mu(allowed, left.chosen, mu, tau=tau, eta=eta)
    llama_cpp.llama_sampler_free(sampler)


def test_the_default_chain_is_our_llama_cpp_order():
    rng = np.random.default_rng(11)
    for logits, p, history in cases(12, 0.5, 0.99):
        t, n = float(np.float32(rng.uniform(0.3, 2))), len(history) + 1
        params = SamplingParams(
            repetition_penalty=1.25,
            penalty_last_n=n,
            dry_multiplier=0.5,
            dry_penalty_last_n=n,
            top_k=30,
            typical_p=p,
            top_p=p,
            min_p=float(np.float32(0.01)),
            xtc_probability=1.0,
            xtc_threshold=0.125,
            temperature=t,
        )
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for sampler in (
            llama_cpp.llama_sampler_init_penalties(VOCAB, n, 1.25, 0.0, 0.0),
            dry_sampler(None, 0.5, 1.75, 2, n),
            llama_cpp.llama_sampler_init_top_k(30),
            llama_cpp.llama_sampler_init_typical(p, 1),
            llama_cpp.llama_sampler_init_top_p(p, 1),
            llama_cpp.llama_sampler_init_min_p(0.01, 1),
            llama_cpp.llama_sampler_init_xtc(1.0, 0.125, 1, 0),
            llama_cpp.llama_sampler_init_temp(t),
        ):
            llama_cpp.llama_sampler_chain_add(chain, sampler)
        agree(chain, logits, params, history)


def test_differs_typical_goes_on_until_the_mass_is_greater_than_p():
    """Four equal tokens, p = 1/2: two hold it exactly.  We stop there, llama.cpp takes a third."""
    assert np.count_nonzero(typical(np.zeros(4), 0.5) > -np.inf) == 2
    law_there = theirs(llama_cpp.llama_sampler_init_typical(0.5, 1), np.zeros(4))
    assert np.count_nonzero(law_there) == 3


def test_differs_typical_after_a_removed_token_is_top_p_in_llama_cpp():
    """0 * log 0 is NaN, so is its entropy, no comparison holds, and the order stays descending.

    Its default chain can do this: top-n-sigma marks tokens with -inf, and typical comes later.
    """
    logits = np.log([0.5, 0.3, 0.2])
    marked = np.append(logits, -np.inf)
    for x in (logits, marked):  # the second is the most typical
        assert np.flatnonzero(typical(x, 0.25) > -np.inf).tolist() == [1]
    without = theirs(llama_cpp.llama_sampler_init_typical(0.25, 1), logits)
    with_marked = theirs(llama_cpp.llama_sampler_init_typical(0.25, 1), marked)
    assert np.flatnonzero(without).tolist() == [1]
    assert np.flatnonzero(with_marked).tolist() == [0]


def test_differs_a_window_of_minus_one_is_off_in_the_library():
    """Only llama.cpp's command line turns -1 into the context size; the sampler itself takes 0."""
    sampler = llama_cpp.llama_sampler_init_penalties(VOCAB, -1, 2.0, 0.0, 0.0)
    logits = np.ones(VOCAB)
    assert np.ptp(theirs(sampler, logits, [1, 2])) == 0
    params = SamplingParams(repetition_penalty=2.0, penalty_last_n=-1)
    assert np.ptp(law(logits, params, [1, 2])) > 0
