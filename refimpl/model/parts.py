"""A model in two parts: the first layers, and the rest.

A part is a model like any other, with fewer layers and, at the cut, neither embeddings nor output:
`forward` begins with the residual stream that it is given instead, and ends with the one that it
has.  One part after the other makes the same calls on the same numbers as the whole, so where the
cut lies changes no bit.

    whole     embed   0  1  2  3  4   output
    cut at 3  embed   0  1  2  |  0  1   output          each part counts its own layers from 0

Where the embedding is also the output, each part holds it.

>>> from refimpl.oracle.models import random_model
>>> first, rest = in_two(random_model("gemma2", seed=0), at=1)
>>> sorted(first.top), sorted(rest.top)
(['token_embd.weight'], ['output.weight', 'output_norm.weight'])
>>> first.config.windows, rest.config.windows
((5,), (None,))
"""

from dataclasses import replace

from refimpl.model.config import Config
from refimpl.model.forward import Model


def in_two(model: Model, at: int) -> tuple[Model, Model]:
    """Layers 0 .. at - 1, and the others."""
    first, rest = configs_in_two(model.config, at)
    outputs = {name: w for name, w in model.top.items() if name.startswith("output")}
    inputs = {name: w for name, w in model.top.items() if name not in outputs}
    if outputs and "output.weight" not in outputs:
        outputs["output.weight"] = inputs["token_embd.weight"]
    return (
        Model(config=first, top=inputs, layers=model.layers[:at]),
        Model(config=rest, top=outputs, layers=model.layers[at:]),
    )


def configs_in_two(c: Config, at: int) -> tuple[Config, Config]:
    """The same for the numbers."""
    first = replace(c, n_layers=at, windows=c.windows[:at], ropes=c.ropes[:at])
    rest = replace(c, n_layers=c.n_layers - at, windows=c.windows[at:], ropes=c.ropes[at:])
    return first, rest
