"""How text becomes tokens, and tokens text.

Read it as a ladder.  `alphabet` writes bytes as characters; `merging` is the algorithm, `bpe` and
`spm` the two ways to say what merges first; `splitting`, `pretokenizers` and `normalizing` prepare
the text; `words` puts these together for one word and `specials` finds the markers between the
words.  `tokenizer` is the whole, `vocabulary` the record it is made from, `detokenize` the way back
as a stream.  `chat` turns a conversation into text, `sandbox` and `budget` keep its template
harmless, `defusing` its messages.  `load` reads the files.
"""

from refimpl.text.chat import ChatTemplate
from refimpl.text.detokenize import IncrementalDecoder
from refimpl.text.errors import ChatTemplateError, TokenizerError
from refimpl.text.load.gguf import tokenizer_from_gguf, tokenizer_to_gguf
from refimpl.text.load.huggingface import tokenizer_from_hf
from refimpl.text.load.llama2c import tokenizer_from_llama2c
from refimpl.text.load.sentencepiece import tokenizer_from_sentencepiece
from refimpl.text.tokenizer import Tokenizer

__all__ = [
    "ChatTemplate",
    "ChatTemplateError",
    "IncrementalDecoder",
    "Tokenizer",
    "TokenizerError",
    "tokenizer_from_gguf",
    "tokenizer_from_hf",
    "tokenizer_from_llama2c",
    "tokenizer_from_sentencepiece",
    "tokenizer_to_gguf",
]
