"""Which tokens end a generation.

A file names one end-of-sequence token, but a chat model ends its turn with another: `<|eot_id|>`,
`<|im_end|>`, `<end_of_turn>` and so on.  Files rarely say which, so llama.cpp goes by the texts of
the tokens, and so does this; Hugging Face's `generation_config.json` may add some.

Source: llama.cpp `llama_vocab::impl::load`, "tokens that cause end-of-generation".

>>> sorted(end_of_generation({"a": 0, "<|im_end|>": 1, "<|endoftext|>": 2}, named=[0, None]))
[0, 1, 2]
"""

from collections.abc import Iterable, Mapping, Sequence

from refimpl.text.vocabulary import TokenType

TEXTS = (
    *("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>"),
    *("<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]"),
    *("<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>"),
    *("<｜end▁of▁sentence｜>", "[e~["),
)
FILL_IN_TEXTS = (
    ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    ("<|file_sep|>",),
)
"""Padding, repository and file separators of code models: past one of them lies another file.  Of
each row one counts, the first; in llama.cpp the one that its hash table meets first."""

INSIDE_A_TURN = (
    ("<|end|>", ("<|return|>", "<|call|>")),
    ("<|end|>", ("<|call|>", "<|flush|>")),
    ("<|end|>", ("<|calls|>", "<|flush|>")),
    ("</s>", ("<|tool_response>",)),
)
"""Texts that end nothing in vocabularies that also have these others (gpt-oss, Solar, Gemma 4)."""


def with_endings_marked(tokens: Sequence[str], types: Sequence[int]) -> tuple[int, ...]:
    """The types, where a token whose text ends a generation is a control token whatever the file
    says: if it were ordinary text, a user could write it."""
    ending = frozenset(TEXTS)
    marked = [
        TokenType.CONTROL.value if text in ending else type
        for text, type in zip(tokens, types, strict=False)
    ]
    return (*marked, *types[len(tokens) :])  # one too many is for `vocabulary.faults` to find


def end_of_generation(ids: Mapping[str, int], named: Iterable[int | None]) -> frozenset[int]:
    """The ids that end a generation: those the file names, and those whose text is known to."""
    texts = [text for text in TEXTS if text in ids]
    for alternatives in FILL_IN_TEXTS:
        texts += [text for text in alternatives if text in ids][:1]
    ending = {ids[text] for text in texts} | {id for id in named if id is not None}
    for text, others in INSIDE_A_TURN:
        if text in ids and all(ids.get(other) in ending for other in others):
            ending.discard(ids[text])
    return frozenset(ending)
