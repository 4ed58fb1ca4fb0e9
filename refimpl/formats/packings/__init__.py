"""Quantised safetensors checkpoints, shown as the plain weights they stand for.

A quantised checkpoint stores a matrix as several tensors (packed integers, scales, zero points) and
says in config.json's `quantization_config` which scheme that is.  `unpacked` shows such a folder
with every matrix under its ordinary name, in float32, computed when it is asked for:

    quant_method          file                   a weight is
    gptq                  gptq.py                (q - zero) * scale, q in 2, 3, 4 or 8 bits
    awq                   awq.py                 the same, 4 bits, packed in another order
    fp8, fbgemm_fp8       fp8.py                 float8 * scale, of a tensor, a row or a block
    compressed-tensors    compressed_tensors.py  int8, float8 or packed integers * scale
    mxfp4                 mxfp4.py               4-bit float * power of two (gpt-oss)
    bitsandbytes          bitsandbytes.py        table[4 bits] * absmax, or int8 * absmax / 127

Read `affine` first: most schemes are one formula.  `parts` checks what is stored before anything
is allocated; `view` puts the schemes together.

A scheme may also quantise activations or the cache (W8A8, kv_cache_scheme).  That is the engine's
affair: the weights here are the stored ones, and scales of activations are not shown.
"""

from refimpl.formats.packings.parts import PackingError
from refimpl.formats.packings.view import SafetensorsView, unpacked

__all__ = ["PackingError", "SafetensorsView", "unpacked"]
