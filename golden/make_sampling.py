"""Write the golden vectors of sampling: `python golden/make_sampling.py [FOLDER]`.

Each file of `golden/sampling` is {"schema": ..., "cases": [...]}.  A case names itself, its
authority, its input and what must come out; -inf is written null.  `relative_bound` is how far a
float64 engine may be from a probability, computed from its operations; survivors must be equal.

    law.json        logits, parameters, history, order of the filters -> probabilities
    pick.json       logits, uniform -> token
    mirostat.json   logits, mu, tau, eta, uniform -> token, next mu
    uniform.json    seed, request, position, stream -> uniform (Philox 4x32-10)

The authority is exact rational arithmetic (`sampling/exact.py`; exp and log to 120 digits), but for
the random words, which are the known answers that Random123 publishes.  Nothing of refimpl is
imported.  Numbers are drawn from a generator with a fixed seed, so the files are reproducible.
"""

import json
import random
import sys
from decimal import Decimal, localcontext
from pathlib import Path

from sampling import exact

EXACT = "exact rational arithmetic (golden/sampling/exact.py)"
RANDOM123 = "Random123, tests/kat_vectors, philox4x32 10"

FIRST = ["logit_bias", "repetition", "frequency", "presence", "dry", "top_n_sigma"]
CUTS = ["top_k", "typical", "top_p", "min_p", "xtc"]
ORDERS = {
    "refimpl": [*FIRST, "temperature", *CUTS],
    "llama.cpp": [*FIRST, *CUTS, "temperature"],
}

EQUAL4 = [0.0, 0.0, 0.0, 0.0]
TIES = [1.0, 2.0, 1.0, None, 1.0, 2.0]
SLOPE = [2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -4.0]
REPEATS = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
ALWAYS, DRY = {"xtc_probability": 1.0}, {"dry_multiplier": 0.5}

LAWS = [
    ("neutral", SLOPE, {}, []),
    ("greedy takes the lowest id", TIES, {"temperature": 0.0}, []),
    ("a sharp temperature", SLOPE, {"temperature": 0.25}, []),
    ("a flat temperature", SLOPE, {"temperature": 4.0}, []),
    ("top-k among ties keeps the lowest ids", TIES, {"top_k": 3}, []),
    ("top-k beyond the vocabulary", TIES, {"top_k": 99}, []),
    ("top-p reached exactly is enough", EQUAL4, {"top_p": 0.5}, []),
    ("top-p just above takes one more", EQUAL4, {"top_p": 0.5625}, []),
    ("top-p 0 keeps one", TIES, {"top_p": 0.0}, []),
    ("top-p", SLOPE, {"top_p": 0.8}, []),
    ("typical reached exactly is enough", EQUAL4, {"typical_p": 0.5}, []),
    ("typical drops the most probable", [2.0, 1.4, 1.0], {"typical_p": 0.25}, []),
    ("min-p 1 keeps every maximum", TIES, {"min_p": 1.0}, []),
    ("min-p", SLOPE, {"min_p": 0.15}, []),
    ("top-n-sigma on its line", [5.0, 3.0], {"top_n_sigma": 2.0}, []),
    ("top-n-sigma of equal logits", EQUAL4, {"top_n_sigma": 1.0}, []),
    ("top-n-sigma ignores removed tokens", TIES, {"top_n_sigma": 1.0}, []),
    ("XTC always", SLOPE, ALWAYS | {"xtc_threshold": 0.1}, []),
    ("XTC sometimes", SLOPE, {"xtc_probability": 0.25, "xtc_threshold": 0.1}, []),
    ("XTC among ties keeps the highest id", EQUAL4, ALWAYS | {"xtc_threshold": 0.25}, []),
    ("XTC with one top choice", SLOPE, ALWAYS | {"xtc_threshold": 0.3}, []),
    ("a ban and a push", SLOPE, {"logit_bias": {"0": None, "7": 5.0}}, []),
    ("repetition, both signs", SLOPE, {"repetition_penalty": 1.5}, [0, 6, 6, 4]),
    ("frequency counts", SLOPE, {"frequency_penalty": 0.5}, [0, 0, 0, 3]),
    ("presence does not", SLOPE, {"presence_penalty": 0.5}, [0, 0, 0, 3]),
    ("penalties see a window", SLOPE, {"presence_penalty": 1.0, "penalty_last_n": 2}, [0, 1, 2]),
    ("penalties see nothing", SLOPE, {"presence_penalty": 1.0, "penalty_last_n": 0}, [0, 1, 2]),
    ("DRY", SLOPE, DRY, REPEATS),
    ("DRY, shorter repetitions", SLOPE, DRY | {"dry_allowed_length": 1}, REPEATS[:6]),
    ("DRY stops at a breaker", SLOPE, DRY | {"dry_sequence_breakers": [[3, 0]]}, REPEATS),
    ("DRY spares a breaker", SLOPE, DRY | {"dry_sequence_breakers": [[2]]}, REPEATS),
    ("DRY sees a window", SLOPE, DRY | {"dry_penalty_last_n": 5}, REPEATS),
]


def main(folder):
    with localcontext(exact.DIGITS):
        write(folder, "law", law_cases())
        write(folder, "pick", pick_cases())
        write(folder, "mirostat", mirostat_cases())
        write(folder, "uniform", uniform_cases())


def write(folder, name, cases):
    document = {"schema": f"refimpl/sampling/{name}/1", "cases": cases}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    (folder / f"{name}.json").write_text(text)


def law_cases():
    fixed = [law_case(name, x, params, history) for name, x, params, history in LAWS]
    order_matters = [
        law_case(f"hot and top-p, {order}", SLOPE, {"temperature": 2.0, "top_p": 0.6}, [], order)
        for order in ORDERS
    ]
    return fixed + order_matters + [mixed_case(i) for i in range(40)]


def law_case(name, logits, params, history, order="refimpl"):
    x = exact.to_exact(logits)
    probabilities, bound = exact.law(x, decimals(params), history, ORDERS[order])
    return {
        "name": name,
        "authority": EXACT,
        "logits": logits,
        "params": params,
        "history": history,
        "order": order,
        "probabilities": [float(p) for p in probabilities],
        "relative_bound": float(bound),
    }


def mixed_case(i):
    """Everything at once on 16 tokens, some of them tied, in either order."""
    rng = random.Random(i)
    logits = [rng.randrange(-256, 256) / 64 for _ in range(16)]
    params = {
        "temperature": rng.choice([0.5, 0.75, 1.0, 1.5]),
        "top_k": rng.choice([0, 5, 12]),
        "typical_p": rng.choice([1.0, 0.9]),
        "top_p": rng.choice([1.0, 0.95, 0.7]),
        "min_p": rng.choice([0.0, 0.05]),
        "top_n_sigma": rng.choice([-1.0, 2.0]),
        "xtc_probability": rng.choice([0.0, 0.5]),
        "xtc_threshold": 0.1,
        "repetition_penalty": rng.choice([1.0, 1.25]),
        "frequency_penalty": rng.choice([0.0, 0.25]),
        "dry_multiplier": rng.choice([0.0, 0.75]),
        "logit_bias": {str(rng.randrange(16)): rng.choice([None, 1.5])},
    }
    history = [rng.randrange(4) for _ in range(12)]
    return law_case(f"mixed {i}", logits, params, history, rng.choice(list(ORDERS)))


def decimals(params):
    """JSON's numbers as exact Decimals; token ids and lengths stay integers."""
    exactly = {k: Decimal(v) if isinstance(v, float) else v for k, v in params.items()}
    if "logit_bias" in params:
        exactly["logit_bias"] = {
            int(token): Decimal("-Infinity") if bias is None else Decimal(bias)
            for token, bias in params["logit_bias"].items()
        }
    return exactly


def pick_cases():
    cases = []
    for logits in (EQUAL4, TIES, SLOPE, [None, 0.0, None, 0.0]):
        x = exact.to_exact(logits)
        for u in (0.0, 0.125, 0.25, 0.5, 0.75, 0.9, 1 - 2.0**-53):
            try:
                token = exact.pick(x, Decimal(u))
            except exact.UndecidableError:
                continue
            cases.append({"authority": EXACT, "logits": logits, "uniform": u, "token": token})
    return [{"name": f"pick {i}", **case} for i, case in enumerate(cases)]


def mirostat_cases():
    tau, eta = 1.5, 0.25
    return [
        mirostat_case(f"{name}, mu {mu}, uniform {u}", logits, mu, tau, eta, u)
        for name, logits in (("equal", EQUAL4), ("slope", SLOPE))
        for mu in (0.5, 2.0, 3.25)
        for u in (0.1, 0.6, 0.95)
    ]


def mirostat_case(name, logits, mu, tau, eta, u):
    allowed = exact.mirostat_cut(exact.to_exact(logits), Decimal(mu))
    token = exact.pick(allowed, Decimal(u))
    surprise = -exact.probabilities(allowed)[token].ln() / Decimal(2).ln()
    return {
        "name": name,
        "authority": EXACT,
        "logits": logits,
        "mu": mu,
        "tau": tau,
        "eta": eta,
        "uniform": u,
        "token": token,
        "next_mu": float(Decimal(mu) - Decimal(eta) * (surprise - Decimal(tau))),
        "absolute_bound": float(exact.rounding(allowed)),
    }


KNOWN_ANSWERS = """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb
"""
"""Counter, key, and the first two of the four words that come out."""


def uniform_cases():
    return [uniform_case(line) for line in KNOWN_ANSWERS.strip().splitlines()]


def uniform_case(line):
    position, stream, low, high, seed_low, seed_high, first, second = (
        int(word, 16) for word in line.split()
    )
    return {
        "name": f"counter {position:08x} ...",
        "authority": RANDOM123,
        "seed": str(seed_high << 32 | seed_low),  # text: JSON readers may keep only 53 bits
        "request": str(high << 32 | low),
        "position": position,
        "stream": stream,
        "uniform": ((first >> 5) * 2**26 + (second >> 6)) / 2**53,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "sampling")
