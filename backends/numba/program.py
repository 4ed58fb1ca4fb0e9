"""A loaded model as the tables that compiled code walks (`records`).

Families with a router, LayerNorm, learned positions or a feed-forward without a gate have no
program: they run operation by operation (`backend.NumbaBackend.forward`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from backends.numba.atomics import LINE
from backends.numba.functions import ACTIVATIONS
from backends.numba.layout import Joined, Matrix
from backends.numba.records import LAYER, MODEL, fill_matrix
from refimpl.model.config import Config, Rope
from refimpl.model.forward import Model

Layer = Mapping[str, Any]


@dataclass(kw_only=True, eq=False)
class Program:
    """The tables of one model, and whatever they point to, so that it stays where it is."""

    config: Config
    table: ndarray
    layers: ndarray
    rotations: list["Rotation"]
    columns: int
    """The widest input of any matrix."""
    taken: ndarray
    """For each matrix a word, on a cache line of its own (`records.MATRIX`)."""
    n_matrices: int = 0
    kept: list[Any] = field(default_factory=list)

    def reach(self, position: int) -> None:
        """Make the rotation tables long enough for a position."""
        if all(position < r.length for r in self.rotations):
            return
        for r in self.rotations:
            r.extend(position)
            for i in r.layers:
                self.layers[i]["cos"], self.layers[i]["sin"] = r.addresses


@dataclass(kw_only=True, eq=False)
class Rotation:
    """cos and sin of every position and pair, made in float64 and rounded once.

    Angles in float32 would be off by as much as position times its unit roundoff; a table costs
    nothing and is not.
    """

    rope: Rope
    layers: list[int]
    length: int = 0
    tables: tuple[Float32[ndarray, "positions pairs"], ...] = ()

    def extend(self, position: int) -> None:
        self.length = max(256, 1 << position.bit_length())
        angles = np.arange(self.length)[:, None] * self.rope.frequencies  # [positions, pairs]
        magnitude = self.rope.magnitude
        self.tables = tuple(
            np.ascontiguousarray(f(angles) * magnitude, np.float32) for f in (np.cos, np.sin)
        )

    @property
    def addresses(self) -> tuple[int, int]:
        cos, sin = self.tables
        return int(cos.ctypes.data), int(sin.ctypes.data)


def compile_model(model: Model, act: str) -> Program | None:
    """The program of a model, or None if its family needs operations that `step` has not."""
    c = model.config
    if not has_program(model):
        return None
    parts = [layer_parts(layer) for layer in model.layers]
    table, layers = np.zeros(1, MODEL), np.zeros(c.n_layers, LAYER)
    taken = np.zeros((7 * c.n_layers + 2, LINE // 8), np.int64)
    program = Program(
        config=c, table=table, layers=layers, rotations=rotations(c), columns=0, taken=taken,
        kept=[model],
    )  # fmt: skip
    for record, layer, found in zip(layers, model.layers, parts, strict=True):
        for name, (matrix, bias) in found.items():
            add_matrix(program, record[name], matrix, bias, act)
        fill_layer(program, record, layer)
    fill_layers_of_config(program)
    fill_model(program, model, act)
    return program


def has_program(model: Model) -> bool:
    """Whether every operation of the family is one that `step` has."""
    c = model.config
    return (
        c.norm == "rms"
        and c.gated
        and not c.parallel_residual
        and all(rope is not None for rope in c.ropes)
        and "position_embd.weight" not in model.top
        and not any("ffn_gate_inp.weight" in layer for layer in model.layers)
    )


def layer_parts(layer: Layer) -> dict[str, tuple[Matrix, ndarray | None]]:
    """The seven matrices of a layer with their biases; joined ones are taken apart."""
    names = {
        "attn_qkv": "q k v", "attn_q": "q", "attn_k": "k", "attn_v": "v", "attn_output": "o",
        "ffn_up": "up" if "ffn_gate.weight" in layer else "gate up", "ffn_gate": "gate",
        "ffn_down": "down",
    }  # fmt: skip
    parts: dict[str, tuple[Matrix, ndarray | None]] = {}
    for name, short in names.items():
        weight, bias, start = layer.get(f"{name}.weight"), layer.get(f"{name}.bias"), 0
        if weight is None:
            continue
        matrices = weight.parts if isinstance(weight, Joined) else (weight,)
        for each, matrix in zip(short.split(), matrices, strict=True):
            end = start + matrix.rows
            parts[each] = matrix, None if bias is None else bias[start:end]
            start = end
    return parts


def rotations(c: Config) -> list[Rotation]:
    """One table for all layers that rotate alike."""
    found: list[Rotation] = []
    for i, rope in enumerate(c.ropes):
        assert rope is not None
        same = [r for r in found if r.rope == rope]
        if same:
            same[0].layers.append(i)
        else:
            found.append(Rotation(rope=rope, layers=[i]))
    return found


def add_matrix(
    program: Program, record: Any, matrix: Matrix, bias: ndarray | None, act: str
) -> None:
    taken = int(program.taken[program.n_matrices].ctypes.data)
    fill_matrix(record, matrix, act, keep(program, bias), taken)
    program.n_matrices += 1
    program.columns = max(program.columns, matrix.columns)
    program.kept.append(matrix)


def keep(program: Program, vector: Any) -> int:
    """The address of a vector as float32, filled up with zeros to whole groups; 0 for none."""
    if vector is None:
        return 0
    padded = np.zeros(-(-len(vector) // 16) * 16, np.float32)
    padded[: len(vector)] = vector
    program.kept.append(padded)
    return int(padded.ctypes.data)


def fill_layer(program: Program, record: Any, layer: Layer) -> None:
    for name in ("attn_norm", "ffn_norm", "post_ffw_norm"):
        record[name] = keep(program, layer.get(f"{name}.weight"))
    record["post_attn_norm"] = keep(program, layer.get("post_attention_norm.weight"))
    record["q_norm"] = keep(program, layer.get("attn_q_norm.weight"))
    record["k_norm"] = keep(program, layer.get("attn_k_norm.weight"))


def fill_layers_of_config(program: Program) -> None:
    c = program.config
    for i, record in enumerate(program.layers):
        rope = c.ropes[i]
        assert rope is not None
        record["window"] = c.windows[i] or 0
        record["pairs"] = len(rope.frequencies)
        record["interleaved"] = rope.layout == "interleaved"


def fill_model(program: Program, model: Model, act: str) -> None:
    c, record = model.config, program.table[0]
    top: Layer = model.top
    fill_config(record, c)
    record["layers"], record["n_layers"] = program.layers.ctypes.data, c.n_layers
    record["vocab"] = c.vocab_size
    record["output_norm"] = keep(program, top["output_norm.weight"])
    embedding = top["token_embd.weight"]
    head = top.get("output.weight", embedding)
    add_matrix(program, record["embedding"], embedding, None, act)
    add_matrix(program, record["output"], head, top.get("output.bias"), act)
    record["read_row"] = embedding.format.row_reader().address


def fill_config(record: Any, c: Config) -> None:
    record["dim"], record["ffn"] = c.dim, c.ffn_dim
    record["heads"], record["kv_heads"], record["head_dim"] = c.n_heads, c.n_kv_heads, c.head_dim
    record["activation"] = ACTIVATIONS[c.activation]
    record["eps"], record["embed_scale"] = c.norm_eps, c.embed_scale
    record["attn_scale"], record["attn_cap"] = c.attn_scale, c.attn_soft_cap or 0.0
    record["logit_cap"] = c.logit_soft_cap or 0.0
