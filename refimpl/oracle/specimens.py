"""The models of the suite: a family, a form for its matrices, a seed.

>>> model = specimen("llama", "Q4_0", 0)
>>> model.layers[0]["ffn_up.weight"].type.name, model.config.head_dim
('Q4_0', 32)
"""

from functools import lru_cache

from refimpl.formats.quants import block_type
from refimpl.formats.quants.block import Packed, Tensor
from refimpl.model.checkpoint import Checkpoint, LazyTensor
from refimpl.model.forward import Model
from refimpl.model.load import build_model
from refimpl.oracle.layouts import VOCAB
from refimpl.oracle.models import random_checkpoint, random_model
from refimpl.oracle.strategies_plans import CONTEXT


@lru_cache(maxsize=64)
def specimen(family: str, form: str, seed: int) -> Model:
    """One or two layers; widths are one or two blocks of the form."""
    width = max(32, block_type(form).block_size)
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": width,
        "block_count": 2 if width == 32 else 1,
        "attention__key_length": width // 4 if width > 32 else 32,
        "attention__value_length": width // 4 if width > 32 else 32,
    }
    if family == "qwen3moe":
        sizes["expert_feed_forward_length"] = width
    if form == "F32":
        return random_model(family, seed, VOCAB, **sizes)
    checkpoint = random_checkpoint(family, seed, VOCAB, **sizes)
    tensors = {name: packed(t, form) for name, t in checkpoint.tensors.items()}
    return build_model(Checkpoint(metadata=checkpoint.metadata, tensors=tensors), packed=True)


def packed(tensor: LazyTensor, form: str) -> LazyTensor:
    """A matrix, or a stack of them, in this form."""
    if len(tensor.shape) < 2:
        return tensor

    def load() -> Tensor:
        kind = block_type(form)
        assert kind.quantize is not None
        weights = tensor.load()[...]
        blocks = weights.reshape(*weights.shape[:-1], -1, kind.block_size)
        return Packed(type=kind, blocks=kind.quantize(blocks))

    return LazyTensor(shape=tensor.shape, load=load)
