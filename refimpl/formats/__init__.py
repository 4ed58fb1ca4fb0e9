"""How weights and metadata lie in files.

Read `gguf` for llama.cpp's format (then `quants` for its block types) and `safetensors` for
Hugging Face's.  Both map a file into memory and check every number in it before using it; what is
wrong with a file is said as a `FormatError` that names the file.
"""
