"""Which tensors a configuration needs, and in which shapes; checked before any weight is read."""

from collections.abc import Iterator, Mapping

from refimpl.errors import FormatError
from refimpl.model.checkpoint import LazyTensor
from refimpl.model.config import Config

Shape = tuple[int, ...]
Tensors = Mapping[str, LazyTensor]


def check_shapes(config: Config, tensors: Tensors) -> None:
    """Raise FormatError for the first tensor that is missing or misshapen."""
    for name, shape in required(config, tensors):
        if name not in tensors:
            raise FormatError(f"the checkpoint lacks tensor {name!r}")
        if tensors[name].shape != shape:
            raise FormatError(
                f"tensor {name!r} has shape {list(tensors[name].shape)}, "
                f"but the configuration asks for {list(shape)}"
            )


def required(config: Config, tensors: Tensors) -> Iterator[tuple[str, Shape]]:
    """Names and shapes; what is optional appears only where the checkpoint has it."""
    c = config
    yield "token_embd.weight", (c.vocab_size, c.dim)
    yield from with_bias("output_norm", (c.dim,), tensors)
    if "output.weight" in tensors:
        yield from with_bias("output", (c.vocab_size, c.dim), tensors)
    if c.ropes[0] is None:
        yield "position_embd.weight", (position_rows(c, tensors), c.dim)
    for i in range(c.n_layers):
        for name, shape in layer_shapes(c, f"blk.{i}.", tensors).items():
            yield from with_bias(f"blk.{i}.{name}", shape, tensors)


def with_bias(name: str, shape: Shape, tensors: Tensors) -> Iterator[tuple[str, Shape]]:
    """The weight, and the bias where there is one: one number for each row."""
    yield f"{name}.weight", shape
    if f"{name}.bias" in tensors:
        yield f"{name}.bias", shape[:1]


def position_rows(c: Config, tensors: Tensors) -> int:
    """A learned position for every place in the context, at least."""
    table = tensors.get("position_embd.weight")
    rows = table.shape[0] if table is not None and table.shape else 0
    return max(c.context_length, rows)


def layer_shapes(c: Config, blk: str, tensors: Tensors) -> dict[str, Shape]:
    """The weights of one layer, without their biases."""
    heads, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    shapes: dict[str, Shape] = {
        "attn_norm": (c.dim,),
        "attn_output": (c.dim, heads),
        "ffn_norm": (c.dim,),
    }
    if f"{blk}attn_qkv.weight" in tensors:
        shapes["attn_qkv"] = (heads + 2 * kv, c.dim)
    else:
        shapes |= {"attn_q": (heads, c.dim), "attn_k": (kv, c.dim), "attn_v": (kv, c.dim)}
    extra_norms: dict[str, Shape] = {
        "attn_q_norm": (c.head_dim,),
        "attn_k_norm": (c.head_dim,),
        "post_attention_norm": (c.dim,),
        "post_ffw_norm": (c.dim,),
    }
    shapes |= {n: shape for n, shape in extra_norms.items() if f"{blk}{n}.weight" in tensors}
    return shapes | feed_forward_shapes(c, blk, tensors)


def feed_forward_shapes(c: Config, blk: str, tensors: Tensors) -> dict[str, Shape]:
    """Experts, a gated pair, a fused pair (Phi-3), or a single matrix up."""
    if f"{blk}ffn_gate_inp.weight" in tensors:
        up, down = (c.n_experts, c.expert_ffn_dim, c.dim), (c.n_experts, c.dim, c.expert_ffn_dim)
        router = {"ffn_gate_inp": (c.n_experts, c.dim)}
        return {**router, "ffn_gate_exps": up, "ffn_up_exps": up, "ffn_down_exps": down}
    fused = c.gated and f"{blk}ffn_gate.weight" not in tensors
    shapes: dict[str, Shape] = {"ffn_down": (c.dim, c.ffn_dim)}
    shapes["ffn_up"] = ((2 if fused else 1) * c.ffn_dim, c.dim)
    if c.gated and not fused:
        shapes["ffn_gate"] = (c.ffn_dim, c.dim)
    return shapes
