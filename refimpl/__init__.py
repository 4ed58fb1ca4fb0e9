"""How vLLM, SGLang and llama.cpp work: one readable engine, and the reference others are judged by.

Read the packages in this order: `ops` (what each operation means), `formats` (how weights are
stored), `text` (words to tokens and back), `model` (the forward pass and the naive loop),
`sampling` (from logits to a token).  Imports only ever point down that list.
"""

__version__ = "0.1.0"
