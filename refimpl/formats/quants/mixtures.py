"""llama.cpp's mixtures: which block type each tensor of a file gets, when a user asks for "Q4_K_M".

A file type has a default block type; some tensors matter more and get a better one, by the rules
in `mixture_rules`.  Rules count: "the first eighth of the layers" goes by how many such tensors
came before, in order of layers.  Sources: llama_tensor_get_type, tensor_allows_quantization and
tensor_type_fallback in llama-quant.cpp (llama.cpp 0.5).

Not covered: the rules of their own that glm5-next and bailingmoe3 have (`mixture` refuses them),
and the options of llama-quantize that override single tensors.

>>> shapes = {"token_embd.weight": (512, 256), "output.weight": (512, 256)}
>>> shapes |= {f"blk.{i}.attn_v.weight": (256, 256) for i in range(8)}
>>> facts = ModelFacts(architecture="llama", n_layers=8, gqa=1, n_experts=0)
>>> for name, kind in mixture("Q4_K_M", shapes, facts).items(): print(name, kind)
output.weight Q6_K
token_embd.weight Q4_K
blk.0.attn_v.weight Q6_K
blk.1.attn_v.weight Q4_K
...
"""

import re
from collections import Counter
from collections.abc import Mapping

from refimpl.errors import InputError, UnsupportedError
from refimpl.formats.quants import block_type
from refimpl.formats.quants.mixture_rules import TWO_BITS_OR_LESS, ModelFacts, Place, pick

FILE_TYPES: Mapping[str, tuple[int, str]] = {
    "F32": (0, "F32"),
    "F16": (1, "F16"),
    "BF16": (32, "BF16"),
    "Q4_0": (2, "Q4_0"),
    "Q4_1": (3, "Q4_1"),
    "Q5_0": (8, "Q5_0"),
    "Q5_1": (9, "Q5_1"),
    "Q8_0": (7, "Q8_0"),
    "Q2_K": (10, "Q2_K"),
    "Q2_K_S": (21, "Q2_K"),
    "Q3_K_S": (11, "Q3_K"),
    "Q3_K_M": (12, "Q3_K"),
    "Q3_K_L": (13, "Q3_K"),
    "Q4_K_S": (14, "Q4_K"),
    "Q4_K_M": (15, "Q4_K"),
    "Q5_K_S": (16, "Q5_K"),
    "Q5_K_M": (17, "Q5_K"),
    "Q6_K": (18, "Q6_K"),
    "IQ1_S": (24, "IQ1_S"),
    "IQ1_M": (31, "IQ1_M"),
    "IQ2_XXS": (19, "IQ2_XXS"),
    "IQ2_XS": (20, "IQ2_XS"),
    "IQ2_S": (28, "IQ2_XS"),
    "IQ2_M": (29, "IQ2_S"),
    "IQ3_XXS": (23, "IQ3_XXS"),
    "IQ3_XS": (22, "IQ3_S"),
    "IQ3_S": (26, "IQ3_S"),
    "IQ3_M": (27, "IQ3_S"),
    "IQ4_NL": (25, "IQ4_NL"),
    "IQ4_XS": (30, "IQ4_XS"),
    "TQ1_0": (36, "TQ1_0"),
    "TQ2_0": (37, "TQ2_0"),
    "MXFP4_MOE": (38, "MXFP4"),
    "Q1_0": (40, "Q1_0"),
    "Q2_0": (41, "Q2_0"),
}
"""Name -> llama.cpp's number (`general.file_type`), and the default block type."""

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


def file_type(name: str) -> str:
    """The canonical name: in capitals, "Q4_K" for "Q4_K_M"."""
    known = ALIASES.get(name.upper(), name.upper())
    if known not in FILE_TYPES:
        raise UnsupportedError(f"no file type {name!r}; known are {', '.join(FILE_TYPES)}")
    return known


# which kind of tensor a name is

KINDS = (
    ("attn_qkv.weight", "value"),
    ("attn_kv_b.weight", "value"),
    ("attn_v.weight", "value"),
    ("attn_k.weight", "key"),
    ("attn_q.weight", "query"),
    ("attn_output.weight", "attention output"),
    ("ffn_up", "up"),
    ("ffn_gate", "gate"),
    ("ffn_down", "down"),
)


def kind_of(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "embedding"
    return next((kind for part, kind in KINDS if part in name), "other")


KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    *(f"time_mix_{part}.weight" for part in ("first", "w0", "w1", "w2", "v0", "v1", "v2")),
    *(f"time_mix_{part}.weight" for part in ("a0", "a1", "a2", "g1", "g2")),
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
)
"""Parts of the names of matrices that are small or delicate, and stay as they are."""


def is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    """Matrices (and stacks of them) called ...weight, but for those that are `KEPT`."""
    dims = len(shape) - next((i for i, size in enumerate(shape) if size > 1), len(shape))
    kept = name in ("position_embd.weight", "token_types.weight")
    return (
        dims >= 2
        and name.endswith("weight")
        and not kept
        and not any(part in name for part in KEPT)
    )


FALLBACKS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"), "IQ4_NL"),
    **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
"""For rows that are no whole number of blocks: a type with blocks of 32 and about as many bits."""


def fit(kind: str, columns: int) -> str:
    """`kind`, or what replaces it where the rows do not divide into its blocks."""
    if columns % block_type(kind).block_size == 0:
        return kind
    if kind not in FALLBACKS and block_type(kind).block_size > 32:
        raise UnsupportedError(
            f"rows of {columns} weights are no whole number of {kind} blocks, and llama.cpp names "
            "no type to use instead; choose another file type"
        )
    other = FALLBACKS.get(kind, kind)
    return other if columns % block_type(other).block_size == 0 else "F16"


def in_order_of_layers(names: Mapping[str, object]) -> list[str]:
    """llama.cpp's order: what belongs to no layer first, then by layer, then by name."""

    def key(name: str) -> tuple[int, bytes]:
        return (layer if (layer := layer_of(name)) is not None else -1), name.encode()

    return sorted(names, key=key)


def layer_of(name: str) -> int | None:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else None


def mixture(
    name: str, shapes: Mapping[str, tuple[int, ...]], model: ModelFacts
) -> dict[str, str | None]:
    """The block type of every tensor, in llama.cpp's order; None: it stays as it is."""
    if model.architecture in ("glm5-next", "bailingmoe3"):
        raise UnsupportedError(f"{model.architecture} has rules of its own, not implemented here")
    chosen = file_type(name)
    default = FILE_TYPES[chosen][1]
    tied = "output.weight" not in shapes
    n_values = sum(kind_of(tensor) == "value" for tensor in shapes)
    seen: Counter[str] = Counter()
    types: dict[str, str | None] = {}
    for tensor in in_order_of_layers(shapes):
        shape = shapes[tensor]
        if not is_quantised(tensor, shape):
            types[tensor] = None
        elif block_type(default).block_size == 1:
            types[tensor] = default
        else:
            kind = kind_of(tensor)
            place = _place(tensor, kind, chosen, model, seen[kind], n_values)
            picked = pick(kind, tied, place, default, shape)
            seen[kind] += 1
            types[tensor] = fit(picked, shape[-1])
    return types


def _place(
    tensor: str, kind: str, chosen: str, model: ModelFacts, before: int, n_values: int
) -> Place:
    """Where in the model a tensor stands; among experts its layer says so, not its number."""
    i, n = before, n_values if kind == "value" else model.n_layers
    if model.n_experts > 1 and kind in ("down", "up", "gate") and chosen not in TWO_BITS_OR_LESS:
        layer = layer_of(tensor)
        if layer is None or layer >= n:
            raise InputError(f"the tensor {tensor!r} is in no layer of 0 .. {n - 1}")
        i = layer
    return Place(model=model, file_type=chosen, i=i, n=n)


def needs_importance(tensor: str, kind: str, chosen: str) -> bool:
    """llama.cpp refuses to make these without an importance, even where ggml could."""
    if kind_of(tensor) in ("output", "embedding"):
        return False
    low = ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")
    return kind in low or (kind == "Q2_K" and chosen == "Q2_K_S")
