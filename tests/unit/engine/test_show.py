"""The log of a run, and the pages made of it.  (What they look like was looked at, not tested.)"""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from refimpl.engine.llm import LLM
from refimpl.engine.show import picture
from refimpl.engine.show.demo import DEMOS, demonstration
from refimpl.engine.show.page import VIEWS
from refimpl.engine.show.record import parse, read, save
from refimpl.errors import FormatError, InputError
from refimpl.oracle.models import random_model
from refimpl.sampling import SamplingParams
from tests.laws.engines import shapes_unchecked

with shapes_unchecked():
    LOGS = {name: demonstration(name) for name in DEMOS}


@pytest.mark.parametrize("name", sorted(DEMOS))
def test_a_log_survives_its_file(name, tmp_path):
    save(LOGS[name], tmp_path / "run.jsonl")
    assert read(tmp_path / "run.jsonl") == LOGS[name]


@pytest.mark.parametrize("name", sorted(DEMOS))
def test_a_log_is_a_replay_of_the_run(name):
    """Law 19 read off the log alone; tables name what the slots hold; nobody is over budget."""
    header, *steps = LOGS[name]
    texts: dict[str, list[int]] = {}
    for step in steps:
        assert sum(share["n"] for share in step["shares"]) <= header["budget"]
        assert len([r for r in step["requests"] if r["status"] == "running"]) <= header["max_seqs"]
        named = [b for r in step["requests"] for b in r["table"]]
        for b, (state, refs, _) in enumerate(step["blocks"]):
            assert refs == named.count(b) and (state == "used") == (refs > 0)
        for request in step["requests"]:
            held = [t for b in request["table"] for t in step["blocks"][b][2]]
            held = held[: request["n_computed"]]
            assert None not in held
            before = texts.setdefault(request["id"], [])
            assert held[: len(before)] == before[: len(held)]
            texts[request["id"]] = max(before, held, key=len)
        pages = [page for node in step["tree"] for page in node["pages"]]
        assert all(step["blocks"][page][0] in ("used", "cached") for page in pages)


def test_the_demonstrations_show_what_they_promise():
    def all_of(name, key):
        return [one for step in LOGS[name][1:] for one in step[key]]

    assert [m[0] for m in all_of("blocks", "moves")] == ["Copy"]  # two samples: one copy
    assert all_of("blocks", "preempted") and all_of("schedule", "preempted")
    shares = all_of("blocks", "shares")
    assert any(share["start"] > 0 and share["n"] > 1 for share in shares)  # a prefix hit
    trees = [{node["id"]: node for node in step["tree"]} for step in LOGS["radix"][1:]]
    pairs = list(pairwise(trees))
    assert any(set(old) - set(new) for old, new in pairs)  # evicted
    assert any(
        len(new[id]["tokens"]) < len(old[id]["tokens"])
        for old, new in pairs
        for id in set(old) & set(new)
    )  # cut
    assert any(node["locks"] for tree in trees for node in tree.values())


@pytest.mark.parametrize("overlap", [False, True])
def test_a_run_of_a_real_model_can_be_recorded(overlap):
    llm = LLM(
        random_model("llama", seed=0),
        block_size=4,
        n_blocks=24,
        cache="radix",
        overlap=overlap,
        record=True,
    )
    params = SamplingParams(max_tokens=5)
    results = llm.generate([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]], params, n=2)
    told = {}
    for step in llm.log[1:]:
        for news in step["news"]:
            if news["token"] is not None:
                told.setdefault(news["id"], []).append(news["token"])
    assert sorted(told.values()) == sorted(c.tokens for r in results for c in r.completions)
    assert picture("radix", llm.log).startswith("<!doctype html>")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.outside = []

    def handle_starttag(self, tag, attributes):
        self.outside += [v for k, v in attributes if k in ("src", "href") and v]


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_a_page_needs_nothing_from_outside(view):
    html = picture(view, LOGS[view])
    tags = Tags()
    tags.feed(html)
    assert not tags.outside and "@import" not in html and "fetch(" not in html
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert json.loads(data[1])["steps"] == LOGS[view][1:]


def test_a_token_cannot_end_the_script():
    log = [dict(LOGS["blocks"][0], words={"1": "</script><b>"}), *LOGS["blocks"][1:]]
    assert "</script><b>" not in picture("blocks", log)


HEADER, STEP = (json.dumps(line) for line in LOGS["blocks"][:2])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1 of the log is not JSON"),
        ('{"a": 1}', "header"),
        ('{"format": "refimpl-events", "version": 9}', "version 9"),
        ('{"format": "refimpl-events", "version": 1}', "no usable 'cache'"),
        (HEADER.replace('"words": {', '"words": {"7": 1, '), "no usable 'words'"),
        (HEADER, "no steps"),
        (HEADER + "\n[]", "line 2 of the log is no step"),
        (HEADER + '\n{"shares": []}', "no usable 'preempted'"),
        (f"{HEADER}\n{STEP}\n" + STEP.replace('"n": 11', '"n": "<b>"'), "line 3 .* 'shares'"),
        (HEADER + "\n" + STEP.replace('"running"', '"<img>"'), "'requests'"),
        (HEADER + "\n" + STEP.replace('"table": [0', '"table": [99'), "does not have"),
    ],
)
def test_what_is_no_log_is_refused(text, says):
    with pytest.raises(FormatError, match=says):
        parse(text.splitlines())


def test_a_file_that_cannot_be_a_log_is_refused_by_name(tmp_path):
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(FormatError, match="not text"):
        read(tmp_path / "picture")
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="cannot be read"):
            read(path)
    with pytest.raises(InputError, match="cannot be written"):
        save(LOGS["blocks"], tmp_path / "no" / "folder")
    with (tmp_path / "endless").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InputError, match="64 MiB"):
        read(tmp_path / "endless")


def test_an_unknown_view_is_named():
    with pytest.raises(InputError, match="choose one of blocks"):
        demonstration("stars")
    with pytest.raises(InputError, match="choose one of blocks"):
        picture("stars")
