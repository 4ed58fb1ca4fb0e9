"""A backend made of two: who holds what, and what it refuses."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from refimpl.backend import Backend, Composed, ReferenceBackend
from refimpl.errors import InputError
from refimpl.offload import Offload
from refimpl.ops.numerics import FORMATS
from refimpl.ops.reference import Reference
from refimpl.oracle.models import EXTRAS, TIED, random_model
from refimpl.oracle.schedules import whole

TEXT = whole([3, 17, 5, 30, 2])
REFERENCE = ReferenceBackend()


@dataclass(kw_only=True, eq=False)
class Counting(Composed):
    """The reference, and every weight it was given."""

    given: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__(Reference(), name="counting")

    def weight(self, tensor):
        self.given.append(id(tensor))
        return tensor


def logits(backend, model, tap=None):
    cache = backend.new_cache(model.config, n_blocks=1, block_size=len(TEXT.tokens))
    taps = {} if tap is None else {"tap": tap}
    return backend.host(backend.forward(backend.load(model), TEXT, cache, **taps))


@pytest.mark.parametrize("family", EXTRAS)
@pytest.mark.parametrize("n_last", [1, 2, 9])
def test_every_weight_goes_to_one_place_once(family, n_last):
    """But an embedding that is the output, too, goes to both."""
    first, last, model = Counting(), Counting(), random_model(family, 0)
    Offload(first, last, n_last).load(model)
    weights = [id(w) for layer in (model.top, *model.layers) for w in layer.values()]
    embedding = [id(model.top["token_embd.weight"])] * (family in TIED)
    assert sorted(first.given + last.given) == sorted(weights + embedding)


def test_keys_and_values_lie_where_their_layers_are():
    model = random_model("gemma3", 0)  # six layers
    backend = Offload(REFERENCE, REFERENCE, 3)
    cache = backend.new_cache(model.config, n_blocks=1, block_size=5)
    backend.forward(backend.load(model), TEXT, cache)
    assert (len(cache.first.keys), len(cache.last.keys)) == (4, 2)


def test_halves_of_halves():
    model = random_model("gemma3", 0)
    thirds = Offload(REFERENCE, Offload(REFERENCE, REFERENCE, 2), 5)
    thirds_too = Offload(Offload(REFERENCE, REFERENCE, 2), REFERENCE, 3)
    for backend in (thirds, thirds_too):
        assert np.array_equal(logits(backend, model), logits(REFERENCE, model))


def test_listening_hears_the_whole_models_names_and_may_answer():
    model, heard = random_model("gemma3", 0), {}

    def listen(into):
        def tap(name, value):
            into.append(name)
            return value * 2 if name == "1.out" else value

        return tap

    expected = logits(REFERENCE, model, listen(heard.setdefault("whole", [])))
    found = logits(Offload(REFERENCE, REFERENCE, 3), model, listen(heard.setdefault("two", [])))
    assert heard["two"] == heard["whole"]
    assert np.array_equal(found, expected)


def test_it_is_a_backend_and_named_after_both():
    backend = Offload(REFERENCE, Counting(), 1)
    assert isinstance(backend, Backend)
    assert backend.name == "numpy+counting"


@pytest.mark.parametrize("n", [0, -1])
def test_no_layers_are_nothing_to_divide(n):
    with pytest.raises(InputError, match="give one or more"):
        Offload(REFERENCE, REFERENCE, n)


@pytest.mark.parametrize(
    "mode", [{"act": "q8"}, {"cache": "float16"}, {"to": FORMATS["bfloat16"]}], ids=str
)
def test_halves_in_different_modes_are_refused(mode):
    with pytest.raises(InputError, match="numpy and numpy would compute different things"):
        Offload(REFERENCE, ReferenceBackend(Reference(**mode)), 1)


def test_guesses_branch_only_where_both_attend_to_trees():
    class Chains(ReferenceBackend):
        attends_trees = False

    assert Offload(REFERENCE, REFERENCE, 1).attends_trees
    assert not Offload(REFERENCE, Chains(), 1).attends_trees
    assert not Offload(Chains(), REFERENCE, 1).attends_trees


def test_masks_are_made_by_the_half_that_is_fast_at_them():
    class Masks(ReferenceBackend):
        compile_json_schema = "fast"

    assert not hasattr(Offload(REFERENCE, REFERENCE, 1), "compile_json_schema")
    for halves in ((Masks(), REFERENCE), (REFERENCE, Masks())):
        assert Offload(*halves, 1).compile_json_schema == "fast"
