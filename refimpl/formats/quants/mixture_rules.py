"""The rules of llama.cpp's mixtures: which tensors matter more, and what type they get.

Source: llama_tensor_get_type_impl in llama-quant.cpp (llama.cpp 0.5), here one table per kind of
tensor.  A rule sees the `Place` of a tensor and names a block type, or None for the default of
the file type.  The rules were tuned by perplexity on a few models and follow no formula.

>>> model = ModelFacts(architecture="llama", n_layers=32, gqa=4, n_experts=0)
>>> [pick("value", False, Place(model=model, file_type="Q4_K_M", i=i, n=32), "Q4_K", (64, 256))
...  for i in range(7)]
['Q6_K', 'Q6_K', 'Q6_K', 'Q6_K', 'Q4_K', 'Q4_K', 'Q6_K']
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from refimpl.formats.quants import block_type

TWO_BITS_OR_LESS = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the rules ask about a model.  `gqa`: query heads per key head; n_experts 0 if none.

    `large` is llama.cpp's "70B" (80 layers and shared key heads, in the Llama and Qwen families).
    """

    architecture: str
    n_layers: int
    gqa: int
    n_experts: int
    large: bool = False
    has_importance: bool = False


@dataclass(frozen=True, kw_only=True)
class Place:
    """A tensor among its like: the `i`-th of `n`, in a model, for a file type."""

    model: ModelFacts
    file_type: str
    i: int
    n: int

    @property
    def first_eighth(self) -> bool:
        return self.i < self.n // 8

    @property
    def more_bits(self) -> bool:
        """The first and the last eighth, and every third between."""
        between = (self.i - self.n // 8) % 3 == 2
        return self.first_eighth or self.i >= 7 * self.n // 8 or between

    @property
    def falcon(self) -> bool:
        return self.model.architecture == "falcon"


def _better_if(condition: bool, better: str) -> str | None:
    return better if condition else None


def _output(p: Place, default: str) -> str:
    if p.falcon or p.file_type == "MXFP4_MOE" or default == "Q8_0":
        return "Q8_0"
    return "Q5_K" if p.file_type in (*TWO_BITS_OR_LESS, "IQ3_XXS") else "Q6_K"


def _embedding(p: Place) -> str | None:
    return {
        **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), "Q2_K"),
        **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
        **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "Q4_K"),
    }.get(p.file_type)


def _value_in_two_bits(p: Place) -> str:
    if p.model.gqa >= 4 or p.model.n_experts >= 4:
        return "Q4_K"
    return _three_or_two(p)


def _three_or_two(p: Place) -> str:
    return "IQ3_S" if p.file_type in ("IQ2_S", "IQ2_M") else "Q2_K"


def _attention_output_in_two_bits(p: Place) -> str | None:
    if p.model.n_experts == 8:
        return "Q5_K"
    return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(
        p.file_type
    )


RULES_IN_TWO_BITS: Mapping[str, Callable[[Place], str | None]] = {
    "value": _value_in_two_bits,
    "key": lambda p: _better_if(p.model.n_experts == 8, "Q4_K"),
    "down": lambda p: _better_if(p.first_eighth, _three_or_two(p)),
    "attention output": _attention_output_in_two_bits,
}


def _value(p: Place, default: str) -> str:
    shared = p.model.gqa >= 4
    three = "IQ3_XXS" if p.model.has_importance else "IQ3_S"
    rule = {
        "Q2_K": "Q4_K" if shared else "Q3_K",
        "Q2_K_S": _better_if(shared, "Q4_K"),
        "IQ3_XXS": "Q4_K" if shared else three,
        "IQ3_XS": _better_if(shared, "Q4_K"),
        "IQ3_S": _better_if(shared, "Q4_K"),
        "IQ3_M": "Q4_K",
        "Q3_K_M": "Q5_K" if p.i < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "IQ4_NL": _better_if(shared, "Q5_K"),
        "IQ4_XS": _better_if(shared, "Q5_K"),
        "Q4_K_M": _better_if(p.more_bits, "Q6_K"),
        "Q5_K_M": _better_if(p.more_bits, "Q6_K"),
        "Q4_K_S": _better_if(p.i < 4, "Q5_K"),
    }
    chosen = rule.get(p.file_type) or default
    if p.model.large and chosen in ("Q3_K", "Q4_K"):
        chosen = "Q5_K"
    return "Q8_0" if p.model.n_experts == 8 else chosen


def _key(p: Place) -> str | None:
    return "Q8_0" if p.model.n_experts == 8 else _query(p)


def _query(p: Place) -> str | None:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(p.file_type)


def _down(p: Place) -> str | None:
    without = not p.model.has_importance
    first_sixteenth = p.i < p.n // 16
    four_if_more = "Q4_K" if not p.falcon or p.more_bits else "Q3_K"
    falcon_middle = "Q5_K" if p.more_bits else "Q4_K"
    eight_experts = p.model.n_experts == 8
    return {
        "Q2_K": "Q3_K",
        "Q2_K_S": _better_if(p.first_eighth, "Q4_K"),
        "IQ3_XXS": _better_if(without, "Q4_K" if p.first_eighth else "Q3_K"),
        "Q3_K_M": "Q5_K" if first_sixteenth else four_if_more,
        "IQ3_M": _better_if(p.first_eighth or (eight_experts and p.more_bits), "Q4_K"),
        "Q3_K_L": "Q4_K" if p.falcon else "Q5_K",
        "Q4_K_M": ("Q6_K" if first_sixteenth else falcon_middle)
        if p.falcon
        else _better_if(p.more_bits, "Q6_K"),
        "IQ4_NL": _better_if(p.first_eighth and without, "Q5_K"),
        "IQ4_XS": _better_if(p.first_eighth and without, "Q5_K"),
        "Q5_K_M": _better_if(p.more_bits, "Q6_K"),
        "Q4_K_S": _better_if(p.first_eighth and not p.falcon, "Q5_K"),
        "Q4_0": _better_if(p.first_eighth and not without, "Q4_1"),
        "Q5_0": _better_if(p.first_eighth and not without, "Q5_1"),
    }.get(p.file_type)


def _attention_output(p: Place) -> str | None:
    if p.falcon:
        return _better_if(p.file_type == "Q3_K_L", "Q4_K")
    if p.model.n_experts == 8:
        five = ("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M")
        return _better_if(p.file_type in (*five, "IQ3_S", "IQ3_M", "IQ4_XS"), "Q5_K")
    return {
        "Q2_K": "Q3_K",
        "IQ3_XXS": "IQ3_S",
        "Q3_K_M": "Q4_K",
        "Q3_K_L": "Q5_K",
        "IQ3_M": "Q4_K",
    }.get(p.file_type)


def _up_or_gate(p: Place) -> str | None:
    middle = not p.first_eighth and p.i < 7 * p.n // 8
    return _better_if(p.file_type == "IQ3_XS" and middle, "IQ3_XXS")


RULES: Mapping[str, Callable[[Place], str | None]] = {
    "key": _key,
    "query": _query,
    "down": _down,
    "attention output": _attention_output,
    "up": _up_or_gate,
    "gate": _up_or_gate,
}


def pick(kind: str, tied: bool, p: Place, default: str, shape: tuple[int, ...]) -> str:
    """The block type for a tensor; `tied`: the embeddings are the output matrix too."""
    if kind == "output" or (kind == "embedding" and tied):
        fits = shape[-1] % block_type(default).block_size == 0
        return _output(p, default) if fits else "Q8_0"
    if p.file_type == "MXFP4_MOE":
        return "MXFP4" if len(shape) > 2 and shape[-3] > 1 else "Q8_0"
    if kind == "embedding":
        return _embedding(p) or default
    if p.file_type in TWO_BITS_OR_LESS:
        rule = RULES_IN_TWO_BITS.get(kind)
        return (rule(p) if rule else None) or default
    if kind == "value":
        return _value(p, default)
    rule = RULES.get(kind)
    return (rule(p) if rule else None) or default
