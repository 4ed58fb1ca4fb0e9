"""transformers in float64, all the way down.

Its code asks for float32 in many places (`.float()`, `dtype=torch.float32`) whatever the model's
dtype.  While a model is built and run here, every such request gets float64.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch


@contextmanager
def everything_in_float64() -> Iterator[None]:
    """Inside, float32 does not exist."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            patch.object(torch, "float32", torch.float64),
            patch.object(torch, "float", torch.float64),
            patch.object(torch.Tensor, "float", torch.Tensor.double),
        ):
            yield
    finally:
        torch.set_default_dtype(before)


def random_model(config: Any, seed: int, precision: str = "float32") -> Any:
    """A causal model with every parameter drawn at random, norms and biases too.

    The values are float64, and representable in `precision`: they survive a trip through a file.
    """
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    with everything_in_float64():
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", experts_implementation="eager"
        ).eval()
        for name, parameter in model.named_parameters():
            spread = 0.2 if parameter.ndim == 1 else 1.5 / parameter.shape[-1] ** 0.5
            values = torch.randn(parameter.shape) * spread
            if parameter.ndim == 1 and "bias" not in name and "gemma" not in config.model_type:
                values += 1.0
            exact = values.numpy().astype(precision).astype("float64")
            parameter.data.copy_(torch.from_numpy(exact))
    return model


def logits(model: Any, tokens: list[int]) -> Any:
    """[tokens, vocab] as a float64 array."""
    with everything_in_float64(), torch.no_grad():
        return model.double()(input_ids=torch.tensor([tokens])).logits[0].numpy()
