"""The golden vectors of `golden/sampling`, read with json alone, against this sampler."""

import json
import subprocess
import sys
from math import inf
from pathlib import Path

import numpy as np
import pytest

from refimpl.sampling import LLAMA_CPP_ORDER, ORDER, SamplingParams, law, uniform
from refimpl.sampling.mirostat import mirostat_v2
from refimpl.sampling.probability import pick

GOLDEN = Path(__file__).parents[3] / "golden"
ORDERS = {"refimpl": ORDER, "llama.cpp": LLAMA_CPP_ORDER}


def cases(name):
    document = json.loads((GOLDEN / "sampling" / f"{name}.json").read_text())
    assert document["schema"] == f"refimpl/sampling/{name}/1"
    return [pytest.param(case, id=case["name"]) for case in document["cases"]]


def logits_of(case):
    return np.array([-inf if x is None else x for x in case["logits"]])


def params_of(case):
    settings = dict(case["params"])
    if "logit_bias" in settings:
        bias = settings["logit_bias"].items()
        settings["logit_bias"] = {int(t): -inf if b is None else b for t, b in bias}
    if "dry_sequence_breakers" in settings:
        settings["dry_sequence_breakers"] = tuple(map(tuple, settings["dry_sequence_breakers"]))
    return SamplingParams(**settings)


@pytest.mark.parametrize("case", cases("law"))
def test_law(case):
    expected = np.array(case["probabilities"])
    found = law(logits_of(case), params_of(case), case["history"], order=ORDERS[case["order"]])
    assert ((found > 0) == (expected > 0)).all()
    np.testing.assert_allclose(found, expected, rtol=case["relative_bound"])


@pytest.mark.parametrize("case", cases("pick"))
def test_pick(case):
    assert pick(logits_of(case), case["uniform"]) == case["token"]


@pytest.mark.parametrize("case", cases("mirostat"))
def test_mirostat(case):
    step = {name: case[name] for name in ("mu", "tau", "eta", "uniform")}
    token, mu = mirostat_v2(logits_of(case), **step)
    assert token == case["token"]
    assert mu == pytest.approx(case["next_mu"], abs=case["absolute_bound"])


@pytest.mark.parametrize("case", cases("uniform"))
def test_uniform(case):
    seed, request = int(case["seed"]), int(case["request"])
    assert uniform(seed, request, case["position"], case["stream"]) == case["uniform"]


def test_the_vectors_are_what_their_generator_writes(tmp_path):
    script = GOLDEN / "make_sampling.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    for written in sorted(tmp_path.iterdir()):
        assert written.read_text() == (GOLDEN / "sampling" / written.name).read_text()
    assert len(list(tmp_path.iterdir())) == 4
