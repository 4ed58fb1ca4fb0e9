"""compressed-tensors' `config_groups`: which modules are stored how.

    {"format": "pack-quantized", "ignore": ["lm_head", "re:.*router$"],
     "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int",
                       "strategy": "group", "group_size": 128, "symmetric": true}}}}

A target is a module's name, `re:` and a pattern that the name must begin with, or a class.  The
name wins over the pattern and the pattern over the class.  A file has no classes, only tensors, and
a module that has scales is a `Linear`; so that is the one class understood here.

Source: compressed-tensors' utils/match.py and quantization/quant_scheme.py (0.20).

>>> matches("re:.*[.]mlp[.]", "model.layers.0.mlp.up_proj"), matches("lm_head", "model.lm_head")
(True, False)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refimpl.errors import UnsupportedError
from refimpl.formats.packings.fp8 import configured_block
from refimpl.formats.packings.parts import PackingError, Parts
from refimpl.formats.packings.settings import group_size, one_of, section, strings, whole

PACKED = "pack-quantized"
TYPES = {
    "int-quantized": ("int",),
    "float-quantized": ("float",),
    "naive-quantized": ("int", "float"),
    PACKED: ("int",),
}
PACKED_BITS = (2, 4, 8)
LINEAR = "Linear"
PATTERN = "re:"
MATCH_SECONDS = 0.5  # a pattern that backtracks for longer is refused
BY_GROUP = ("group", "dynamic", True)  # actorder, when the groups are not consecutive inputs
STRATEGIES = ("tensor", "channel", "group", "block")


@dataclass(frozen=True, kw_only=True)
class Group:
    """How the weights of a group of modules are stored."""

    targets: tuple[str, ...]
    format: str
    type: str
    bits: int
    symmetric: bool
    strategy: str
    group_size: int
    block_structure: tuple[int, int] | None
    act_order: bool

    def block(self, parts: Parts, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns that share a scale."""
        n_out, n_in = shape
        if self.strategy == "tensor":
            return n_out, n_in
        if self.strategy == "block":
            if self.block_structure is None:
                raise parts.error('strategy "block" needs a block_structure')
            return self.block_structure
        size = self.group_size if self.strategy == "group" else -1
        if size != -1 and n_in % size:
            raise parts.error(f"group_size {size} does not divide its {n_in} inputs")
        return 1, n_in if size == -1 else size


def read_groups(config: Mapping[str, Any]) -> tuple[Group, ...]:
    """All groups that quantise weights; one that only quantises activations is not one."""
    named = section(config, "config_groups")
    found = []
    for name in named:
        group = section(named, name)
        if section(group, "weights"):
            found.append(read_group(group, config))
    if not found:
        raise PackingError("quantization_config: no group of config_groups quantises weights")
    return tuple(found)


def read_group(group: Mapping[str, Any], config: Mapping[str, Any]) -> Group:
    weights = section(group, "weights")
    stored = one_of(group if group.get("format") else config, "format", tuple(TYPES))
    bits = whole(weights, "num_bits", 1, 32)
    kind = one_of(weights, "type", TYPES[stored], TYPES[stored][0])
    allowed = PACKED_BITS if stored == PACKED else (8,) if kind == "float" else tuple(range(1, 9))
    if weights.get("dynamic"):
        raise PackingError("quantization_config: weights cannot be quantised dynamically")
    size = group_size(weights, default=-1)
    return Group(
        targets=targets_of(group),
        format=stored,
        type=kind,
        bits=one_of({"num_bits": bits}, "num_bits", allowed),
        symmetric=one_of(weights, "symmetric", (True, False), True),
        strategy=one_of(weights, "strategy", STRATEGIES, "tensor" if size == -1 else "group"),
        group_size=size,
        block_structure=configured_block(weights, "block_structure"),
        act_order=weights.get("actorder") in BY_GROUP,
    )


def targets_of(group: Mapping[str, Any]) -> tuple[str, ...]:
    targets = strings(group, "targets")
    for target in targets:
        if target != LINEAR and target.isidentifier() and target[0].isupper():
            raise UnsupportedError(
                f"quantization_config: target {target!r} is a class, and a file has only names; "
                f"supported: {LINEAR}, names of modules, and {PATTERN}PATTERN"
            )
    return targets


def group_of(parts: Parts, config: Mapping[str, Any], groups: tuple[Group, ...]) -> Group:
    """The group of a module that has quantised tensors."""
    for pattern in strings(config, "ignore"):
        if matches(pattern, parts.stem):
            raise parts.error(f"is quantised, and {pattern!r} of the ignore list says it is not")
    named = [g for g in groups if parts.stem in g.targets]
    patterned = [g for g in groups if any(matches(t, parts.stem) for t in g.targets)]
    linear = [g for g in groups if LINEAR in g.targets]
    for candidates in (named, patterned, linear):
        if candidates:
            return candidates[0]
    raise parts.error("is quantised, and no group of config_groups has it as a target")


def matches(target: str, module: str) -> bool:
    """Is the target this module's name, or a pattern the name begins with?"""
    if not target.startswith(PATTERN):
        return target == module
    import regex

    try:
        return regex.match(target.removeprefix(PATTERN), module, timeout=MATCH_SECONDS) is not None
    except (regex.error, TimeoutError, RecursionError, OverflowError) as cause:
        raise PackingError(
            f"quantization_config: {target!r} is not a usable pattern: {cause}"
        ) from None
