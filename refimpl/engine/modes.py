"""What happens when memory is short, as each engine has it: who may start, and who gives way.

    mode      may a waiting request start?                  who gives way?
    vllm      if the first chunk of its prompt fits         whoever was admitted last
    sglang    if everybody's estimated future fits, too     whoever has generated least

SGLang admits more cautiously, so it retracts less often, and serves fewer at a time until its
estimate has come down (`refimpl.engine.admission`).  A mode decides when a token comes, never which
(law 6).

>>> admission, victims = rules_of("sglang")
>>> type(admission).__name__, type(victims).__name__
('NewTokenRatio', 'FewestOutputs')
"""

from refimpl.engine.admission import NewTokenRatio, OnDemand
from refimpl.engine.victims import FewestOutputs, LastAdmitted, Victims
from refimpl.errors import InputError

MODES: dict[str, tuple[type[OnDemand], type[Victims]]] = {
    "vllm": (OnDemand, LastAdmitted),
    "sglang": (NewTokenRatio, FewestOutputs),
}


def rules_of(mode: str) -> tuple[OnDemand, Victims]:
    """Both rules of a mode, new."""
    if mode not in MODES:
        raise InputError(f"no mode {mode!r}: choose one of {', '.join(MODES)}")
    admission, victims = MODES[mode]
    return admission(), victims()
