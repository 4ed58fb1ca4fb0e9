"""How weights and metadata lie in files.

Read `gguf` for llama.cpp's format (then `quants` for its block types), `safetensors` for Hugging
Face's, and `packings` for quantised checkpoints in it.  A file is mapped into memory, and every
number in it is checked before it is used; what is wrong is said as a `FormatError` that names the
file.
"""
