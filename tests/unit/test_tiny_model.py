"""The embedded model: its files, its vocabulary, what it says, and how its questions were made."""

import doctest
import hashlib
import importlib
import json
import re
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.tiny import arithmetic, bpe, card, chat, corpus, exam, mix, skills
from refimpl.model.cache import attend_to_itself
from refimpl.model.forward import forward
from refimpl.model.generate import incremental
from refimpl.model.load import load

ROOT = Path(__file__).parents[2]
DATA = ROOT / "refimpl" / "data"
NAMES = ("tiny", "tiny-draft")
GREEDY = json.loads((ROOT / "golden" / "tiny" / "greedy.json").read_text())["cases"]
CHAPTER = [
    *("corpus", "words", "arithmetic", "sums", "problems", "lists", "passages", "records"),
    *("skills", "chat", "optimiser", "exam"),
]


@pytest.fixture(scope="module")
def models():
    return {name: load(DATA / f"{name}.gguf") for name in NAMES}


def logits(loaded, tokens):
    positions = np.arange(len(tokens))
    attend = attend_to_itself(loaded.config, positions)
    return forward(loaded.model, np.array(tokens), positions, attend)


def greedy(loaded, prompt, most):
    next_logits, said = incremental(loaded.model, len(prompt) + most), []
    while len(said) < most and (not said or said[-1] not in loaded.tokenizer.eog_ids):
        said.append(int(next_logits([*prompt, *said]).argmax()))
    return said


# The files.


@pytest.mark.parametrize("name", NAMES)
def test_the_card_gives_the_checksum_and_size_of_the_file(name):
    content = (DATA / f"{name}.gguf").read_bytes()
    row = next(
        line for line in card.CARD.read_text().splitlines() if line.startswith(f"| `{name}.gguf`")
    )
    assert hashlib.sha256(content).hexdigest() in row
    assert f"{len(content):,}" in row


def test_the_card_says_what_was_measured():
    measured = json.loads((card.DOCS / "tiny.json").read_text())
    training = json.loads((card.DOCS / "tiny-training.json").read_text())
    text = card.CARD.read_text()
    assert card.rewritten(text, measured, training) == text


def test_what_was_measured_meets_what_was_promised():
    measured = json.loads((card.DOCS / "tiny.json").read_text())
    share = {(r["skill"], r["form"]): r["share"] for r in measured["exam"]}
    assert {name for name, _ in share} == set(skills.EXAMINED)
    assert min(x for (_, form), x in share.items() if form == "think") >= 0.95
    assert share["word", "think"] - share["word", "direct"] >= 0.3
    assert measured["draft"]["share"] >= 0.6


@pytest.mark.parametrize(
    ("name", "most_bytes", "parameters"),
    [("tiny", 9_000_000, (4e6, 8e6)), ("tiny-draft", 1_000_000, (0, 0.8e6))],
)
def test_sizes(models, name, most_bytes, parameters):
    assert (DATA / f"{name}.gguf").stat().st_size <= most_bytes
    config = models[name].config
    counted = count_parameters(models[name].metadata)
    assert parameters[0] <= counted <= parameters[1]
    assert f"| {counted:,} |" in card.CARD.read_text()
    assert config.context_length == 1024


def count_parameters(metadata):
    """From the shape alone: the embedding (which is the output too), and each layer."""
    said = {key.removeprefix("llama."): value for key, value in metadata.items()}
    dim, ffn = said["embedding_length"], said["feed_forward_length"]
    kv = dim * said["attention.head_count_kv"] // said["attention.head_count"]
    layer = 2 * dim * dim + 2 * dim * kv + 3 * dim * ffn + 2 * dim
    return said["vocab_size"] * dim + said["block_count"] * layer + dim


# The vocabulary.


def test_target_and_draft_have_one_vocabulary(models):
    target, draft = (models[name].tokenizer for name in NAMES)
    assert target.vocab_size == draft.vocab_size <= 4096
    assert target == draft


def test_every_digit_is_one_token_and_in_no_other(models):
    tokenizer = models["tiny"].tokenizer
    for id in range(5, tokenizer.vocab_size):
        spelt = tokenizer.token_bytes(id)
        assert spelt.isdigit() == (len(spelt) == 1 and spelt in b"0123456789")
        assert len(spelt) == 1 or not re.search(rb"[0-9]", spelt)


@given(st.text(max_size=60))
def test_the_tokenizer_is_the_one_it_was_trained_with(models, text):
    ids = models["tiny"].tokenizer.encode(text)
    assert ids == [0, *bpe.load().encode(text).ids]
    assert models["tiny"].tokenizer.decode(ids[1:]) == text


def test_special_tokens(models):
    tokenizer = models["tiny"].tokenizer
    assert [tokenizer.token_text(id) for id in range(5)] == list(chat.SPECIAL)
    assert tokenizer.bos_id == 0
    assert tokenizer.eog_ids == {0, 2}


@pytest.mark.parametrize("think", [True, False])
def test_the_template_renders_what_was_trained(models, think):
    turns = [
        ("system", chat.DIRECTLY),
        ("user", "1 + 1?"),
        ("assistant", "<think>\nx\n</think>\n2"),
    ]
    turns.append(("user", "And 2 + 2?"))
    messages = [{"role": role, "content": content} for role, content in turns]
    ids = models["tiny"].tokenizer.encode_chat(messages, enable_thinking=think)
    assert ids == bpe.load().encode(chat.render(turns, prompt=True, think=think)).ids


# What it says.


@pytest.mark.parametrize("case", GREEDY, ids=lambda case: case["name"])
def test_greedy_text_is_that_of_transformers_in_float64(models, case):
    assert greedy(models[case["model"]], case["prompt"], 64) == case["tokens"]


def test_the_draft_follows_the_target(models):
    """Over the golden texts; the card has the figure for held-out stories."""
    hits = []
    for case in GREEDY:
        if case["model"] == "tiny":
            text = [*case["prompt"], *case["tokens"]]
            choices = logits(models["tiny-draft"], text).argmax(axis=1)
            hits += list(choices[len(case["prompt"]) - 1 : -1] == case["tokens"])
    assert np.mean(hits) >= 0.6


@pytest.mark.parametrize("form", exam.FORMS)
def test_it_knows_what_17_and_25_make(models, form):
    sum_ = skills.Example(skill="add", question="What is 17 + 25?", scratchpad="", answer="42")
    tokenizer = models["tiny"].tokenizer
    prompt = bpe.load().encode(exam.prompt(sum_, form)).ids
    said = tokenizer.decode(greedy(models["tiny"], prompt, 48)[:-1])
    assert exam.correct(said, "42")
    assert said.startswith("<think>") == (form == "think")


@pytest.mark.external
def test_the_golden_is_what_transformers_says():
    pytest.importorskip("transformers")
    from golden.tiny.greedy import continue_greedily, open_in_float64

    for name in NAMES:
        model = open_in_float64(DATA / f"{name}.gguf")
        for case in (case for case in GREEDY if case["model"] == name):
            again = continue_greedily(model, case["prompt"])
            assert again["tokens"] == case["tokens"]
            assert again["closest_call"] == pytest.approx(case["closest_call"], abs=1e-6)


@pytest.mark.external
@pytest.mark.parametrize("name", NAMES)
def test_llama_cpp_reads_it_and_agrees(name):
    """Where no choice is close: ggml rounds activations to eight bits, too."""
    llama_cpp = pytest.importorskip("llama_cpp")
    engine = llama_cpp.Llama(str(DATA / f"{name}.gguf"), n_ctx=512, verbose=False)
    for case in (case for case in GREEDY if case["model"] == name):
        text = bpe.load().decode(case["prompt"], skip_special_tokens=False)
        assert engine.tokenize(text.encode(), add_bos=False, special=True) == case["prompt"]
        if case["closest_call"] < 1:
            continue
        engine.reset()
        said = []
        for token in engine.generate(case["prompt"], temp=0.0):
            said.append(token)
            if len(said) == len(case["tokens"]):
                break
        assert said == case["tokens"]


# How its questions were made.


@pytest.mark.parametrize("name", CHAPTER)
def test_worked_examples(name):
    if name == "optimiser":
        pytest.importorskip("torch")
    module = importlib.import_module(f"golden.tiny.{name}")
    failed, tried = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried and not failed


def test_the_split_is_the_one_it_was_trained_with(shared):
    kept, unseen = corpus.split(corpus.read_stories(shared / "corpora" / "tinystories_merged.txt"))
    assert (len(kept), len(unseen)) == (9262, 1078)
    digest = hashlib.sha256("\0".join(unseen).encode()).hexdigest()
    assert digest == "a028103abc62c428558d9e8eff12ca62fff971465d80236105c4ddd1dc092851"


@pytest.mark.parametrize("name", skills.SKILLS)
def test_examined_questions_are_never_trained_on(name):
    examined = skills.draw(name, Random(1), held=True, count=20)
    trained = skills.draw(name, Random(1), held=False, count=200)
    assert not {x.subject for x in examined} & {x.subject for x in trained}
    assert all(corpus.held_out(x.subject) for x in examined)


numbers = st.integers(0, 99_999)


@given(numbers, numbers)
def test_written_sums_and_differences_are_right(a, b):
    a, b = max(a, b), min(a, b)
    for symbol, written in (("+", arithmetic.add), ("-", arithmetic.subtract)):
        first, *columns, last = written(a, b).splitlines()
        assert first == f"{a}{symbol}{b}"
        assert last == str(eval(first))
        for column in columns:
            left, right = column.split("=")
            assert eval(re.sub(r"0(\d)", r"\1", left)) == int(right)
        assert "".join(column[-1] for column in reversed(columns)).lstrip("0") in last


@given(st.integers(0, 2**32), st.sampled_from(sorted(skills.SKILLS)))
def test_the_answer_follows_from_the_scratchpad(seed, name):
    """The last line decides: it is the answer, or names the option, or compares."""
    x = skills.SKILLS[name](Random(seed))
    last = x.scratchpad.splitlines()[-1]
    if name in ("add", "step", "word"):
        assert last == x.answer
    elif name == "subtract":
        assert last == x.answer.lstrip("-")
    elif name == "count":
        assert last.split()[-1] == x.answer
    elif name == "choice":
        assert last.startswith(f"{x.answer})") and last.endswith("yes")
    elif name == "yesno":
        told, asked = last.split(", asked ")
        assert (told == asked) == (x.answer == "Yes")
    elif name == "record":
        record = dict(line.split(": ") for line in x.scratchpad.splitlines())
        assert {**json.loads(x.answer), "price": float(record["price"])} == {
            **record, "price": float(record["price"]),
        }  # fmt: skip
    elif name == "sort":
        assert [line[-1] for line in x.scratchpad.splitlines()] == x.answer.split()
    else:
        assert decided(x.question, last) == x.answer


def decided(question, last):
    """What a comparison's last line, 12<34, answers to its question."""
    a, sign, b = re.fullmatch(r"(\d+)([<>])(\d+)", last).groups()
    assert question.index(a) < question.rindex(b)
    if "greater" in question or "less" in question:
        return "Yes" if (sign == ">") == ("greater" in question) else "No"
    return a if (sign == ">") == ("smaller" not in question) else b


def test_rows_are_the_same_every_time_and_teach_only_answers():
    tokenizer = bpe.load()
    rows = mix.skill_rows(tokenizer, seed=7, n_documents=60)
    assert np.array_equal(rows, mix.skill_rows(tokenizer, seed=7, n_documents=60))
    assert rows.shape[1] == mix.ROW
    learnt = [int(token) & (mix.LEARN - 1) for token in rows[0] if token & mix.LEARN]
    text = tokenizer.decode(learnt, skip_special_tokens=False)
    assert chat.START not in text and text.count(chat.END) > 3
