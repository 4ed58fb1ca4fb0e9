"""Our vocabulary: 2048 byte-level BPE tokens, of which every digit is one and none is in another.

The pre-tokenizer is Qwen2's regular expression ("qwen2" in `tokenizer.ggml.pre`): it is the best
known of those that never put two digits, or a digit and a space, into one word.  The merges are
learnt from the training stories and from a sample of the skills, by the `tokenizers` library.

    python -m golden.tiny.bpe ../shared/data/corpora/tinystories_merged.txt
"""

import sys
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from golden.tiny.chat import SPECIAL
from golden.tiny.corpus import read_stories, split
from golden.tiny.mix import skill_document

FILE = Path(__file__).with_name("tokenizer.json")
SIZE = 2048
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(stories: list[str], size: int = SIZE) -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(QWEN2), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*stories, *skills_sample()], trainer)
    return tokenizer


def skills_sample(n_documents: int = 6000) -> list[str]:
    """About a fifth as much text as the stories, without the special tokens."""
    rng = Random("vocabulary")
    texts = ["".join(text for text, _ in skill_document(rng)) for _ in range(n_documents)]
    for token in SPECIAL:
        texts = [text.replace(token, "\n") for text in texts]
    return texts


def load() -> Tokenizer:
    return Tokenizer.from_file(str(FILE))


if __name__ == "__main__":
    kept, _ = split(read_stories(Path(sys.argv[1])))
    train(kept).save(str(FILE), pretty=False)
    print(f"{FILE}: {load().get_vocab_size()} tokens")
