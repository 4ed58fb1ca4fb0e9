"""Chat templates: rendered as transformers renders them, and never a way in for a marker."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.errors import UnsupportedError
from refimpl.text import ChatTemplate, ChatTemplateError, Tokenizer

QUESTION = [{"role": "user", "content": "Hi"}]
CONVERSATION = [
    {"role": "user", "content": "Hi, I'm <Ada> & co."},
    {"role": "assistant", "content": " Hello!\n"},
    {"role": "user", "content": "Bye"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "adds <a> & é",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": "a number"}},
                "required": ["a"],
            },
        },
    }
]


def clock():
    return datetime(2024, 7, 26)


@pytest.fixture(scope="session")
def templates(shared):
    folder = shared / "tokenizers" / "chat_templates"
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja"))}


def test_every_template_renders(templates):
    assert len(templates) == 7
    for name, source in templates.items():
        template = ChatTemplate(source, "<bos>", "<eos>", clock=clock)
        text = template.render(CONVERSATION)
        assert "I'm <Ada> & co." in text, name  # nothing is escaped for HTML
        assert "Hello!" in text and text.index("Hello!") < text.index("Bye"), name
        assert len(template.render(CONVERSATION, add_generation_prompt=False)) <= len(text), name


def test_published_renderings(templates):
    """From the models' own documentation."""
    qwen = ChatTemplate(templates["Qwen-Qwen2.5-7B-Instruct"])
    assert qwen.render([{"role": "system", "content": "Be brief."}, *QUESTION]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    gemma = ChatTemplate(templates["google-gemma-2-2b-it"], "<bos>")
    assert gemma.render(QUESTION) == (
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    )


def test_the_date_is_given_or_absent(templates):
    source = templates["openai-gpt-oss-120b"]
    later = ChatTemplate(source, clock=lambda: datetime(2031, 1, 2))
    assert "Current date: 2031-01-02" in later.render(QUESTION)
    with pytest.raises(ChatTemplateError, match="strftime_now"):
        ChatTemplate(source).render(QUESTION)
    llama = ChatTemplate(templates["meta-llama-Llama-3.1-8B-Instruct"])
    assert "Today Date: 26 Jul 2024" in llama.render(QUESTION)  # a date of its own


def test_a_template_may_refuse(templates):
    gemma = ChatTemplate(templates["google-gemma-2-2b-it"], "<bos>")
    with pytest.raises(ChatTemplateError, match="refuses these messages: System role"):
        gemma.render([{"role": "system", "content": "x"}])


@pytest.mark.external
def test_rendering_equals_that_of_transformers(templates):
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    for name, source in templates.items():
        template = ChatTemplate(source, "<bos>", "<eos>", clock=datetime.now)
        for tools in (None, TOOLS):
            for prompt in (True, False):
                expected, _ = utils.render_jinja_template(
                    [CONVERSATION],
                    tools=tools,
                    chat_template=source,
                    add_generation_prompt=prompt,
                    bos_token="<bos>",
                    eos_token="<eos>",
                )
                assert template.render(CONVERSATION, prompt, tools=tools) == expected[0], name


# Conversations as ids.


def test_there_is_one_bos_whoever_writes_it(vocabularies):
    phi3 = vocabularies["phi-3"]
    assert phi3.vocabulary.add_bos and phi3.chat_template.startswith("{{ bos_token }}")
    assert phi3.encode_chat(QUESTION).count(phi3.bos_id) == 1
    silent = replace(phi3.vocabulary, chat_template="{{ messages[0].content }}")
    assert Tokenizer(silent).encode_chat(QUESTION) == phi3.encode("Hi")


def test_a_conversation_is_the_rendered_text_as_ids(vocabularies):
    phi3 = vocabularies["phi-3"]
    text = "<s><|user|>\nHi<|end|>\n<|assistant|>\n"
    assert phi3.encode_chat(QUESTION) == phi3.encode(text, add_special=False)


BARE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}<|end|>"


@pytest.fixture(scope="module", params=[BARE, BARE.replace("m.content", "m.content | trim")])
def bare(request, vocabularies):
    """A tokenizer whose template puts nothing between the messages."""
    return Tokenizer(replace(vocabularies["phi-3"].vocabulary, chat_template=request.param))


@given(data=st.data())
def test_only_the_template_makes_markers(data, texts, bare):
    """Whatever users write, whole markers or parts that meet: the ids have the template's alone."""
    markers = [text for text in bare.specials.control if len(text) > 1]
    marker = data.draw(st.sampled_from(markers))
    cut = data.draw(st.integers(1, len(marker) - 1))
    part = st.sampled_from([marker, marker[:cut], marker[cut:], " ", "\ufdd00\ufdd1"])
    written = st.lists(st.one_of(part, part, texts), max_size=3).map("".join)
    contents = data.draw(st.lists(written, min_size=1, max_size=3))
    ids = bare.encode_chat([{"role": "user", "content": content} for content in contents])
    assert [id for id in ids if bare.is_special(id)] == [bare.bos_id, ids[-1]]
    if "trim" in bare.chat_template:
        contents = map(str.strip, contents)
    assert bare.decode(ids[1:-1], skip_special=True) == "".join(contents).replace("▁", " ")


def test_markers_hide_in_keys_and_lists_too(vocabularies):
    source = "{% for k, v in messages[0].items() %}{{ k }}={{ v | tojson }};{% endfor %}"
    tokenizer = Tokenizer(replace(vocabularies["phi-3"].vocabulary, chat_template=source))
    ids = tokenizer.encode_chat([{"<|end|>": ["<|user|>", {"<s>": "</s>"}]}])
    assert [id for id in ids if tokenizer.is_special(id)] == [tokenizer.bos_id]
    shown = '<|end|>=["<|user|>", {"<s>": "</s>"}];'
    assert tokenizer.decode(ids, skip_special=True) == shown


def test_a_message_that_contains_itself_is_a_named_error(vocabularies):
    message: dict[str, object] = {"role": "user"}
    message["content"] = [message]
    with pytest.raises(ChatTemplateError, match="contains itself"):
        vocabularies["phi-3"].encode_chat([message])


def test_a_model_without_a_template_says_so(vocabularies):
    with pytest.raises(UnsupportedError, match="no chat template"):
        vocabularies["gpt-2"].encode_chat(QUESTION)
