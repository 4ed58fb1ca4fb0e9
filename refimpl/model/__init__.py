"""From a checkpoint to logits.

Read `families` (how the models differ, as data), `config`, `forward` (the model itself) and
`generate` (the loop).  `load` opens any checkpoint; `huggingface` and `llama2c` say how a foreign
one is read as the GGUF file it would become.
"""
