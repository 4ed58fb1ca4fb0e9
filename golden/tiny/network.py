"""The network, for training: a small Llama in PyTorch, under the tensor names GGUF gives it.

Grouped-query attention (Ainslie et al., 2023), rotary positions on neighbouring pairs (Su et al.,
2021; the layout llama.cpp stores, so export permutes nothing), SwiGLU (Shazeer, 2020), RMSNorm, the
output tied to the embedding (Press and Wolf, 2017).  What each operation means is in `refimpl.ops`;
this file only has to be fast on a GPU.

Dropout is a number per row of the batch: stories repeat and are dropped out, skills never repeat.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu


@dataclass(frozen=True, kw_only=True)
class Shape:
    vocab: int = 2048
    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    context: int = 1024
    rope_base: float = 10_000.0
    eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


TARGET = Shape(dim=256, layers=8, heads=8, kv_heads=4, ffn=768)
DRAFT = Shape(dim=128, layers=3, heads=4, kv_heads=2, ffn=320)


class Norm(nn.Module):
    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def linear(n_in: int, n_out: int, *, residual_layers: int = 0) -> nn.Linear:
    """No bias; the matrices that write to the residual stream start small (GPT-2)."""
    layer = nn.Linear(n_in, n_out, bias=False)
    nn.init.normal_(layer.weight, std=n_in**-0.5 / math.sqrt(max(1, 2 * residual_layers)))
    return layer


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[rows, heads, tokens, head_dim]: turn each neighbouring pair by its position's angle."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)


class Block(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        kv = s.kv_heads * s.head_dim
        self.shape = s
        self.attn_norm, self.ffn_norm = Norm(s.dim, s.eps), Norm(s.dim, s.eps)
        self.attn_q, self.attn_k, self.attn_v = (linear(s.dim, n) for n in (s.dim, kv, kv))
        self.attn_output = linear(s.dim, s.dim, residual_layers=s.layers)
        self.ffn_gate, self.ffn_up = linear(s.dim, s.ffn), linear(s.dim, s.ffn)
        self.ffn_down = linear(s.ffn, s.dim, residual_layers=s.layers)

    def forward(self, x, cos, sin, drop, cache=None):
        x = x + thin(self.attend(self.attn_norm(x), cos, sin, cache), drop)
        return x + thin(self.feed_forward(self.ffn_norm(x)), drop)

    def attend(self, x, cos, sin, cache):
        """With a cache (k, v, position), x is one token per row and sees all before it."""
        s = self.shape
        q, k, v = (
            w(x).unflatten(-1, (-1, s.head_dim)).transpose(1, 2)  # [rows, heads, tokens, head_dim]
            for w in (self.attn_q, self.attn_k, self.attn_v)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            keys, values, at = cache
            keys[:, :, at : at + 1], values[:, :, at : at + 1] = k, v
            k, v = keys[:, :, : at + 1], values[:, :, : at + 1]
            q = q.reshape(len(x), s.kv_heads, -1, s.head_dim)  # a group is as good as many queries
            mixed = scaled_dot_product_attention(q, k, v)
            return self.attn_output(mixed.reshape(len(x), 1, s.dim))
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.attn_output(mixed.transpose(1, 2).flatten(-2))

    def feed_forward(self, x):
        return self.ffn_down(silu(self.ffn_gate(x)) * self.ffn_up(x))


def thin(x: Tensor, drop: Tensor | None) -> Tensor:
    """Dropout with a probability per row, [rows]; None leaves x alone."""
    if drop is None:
        return x
    keep = (1 - drop)[:, None, None].to(x.dtype)
    return x * (torch.rand_like(x) < keep) / keep


class Llama(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.dim)
        nn.init.normal_(self.token_embd.weight, std=0.02)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.dim, shape.eps)
        pairs = torch.arange(0, shape.head_dim, 2, dtype=torch.float64)
        turns = torch.outer(
            torch.arange(shape.context, dtype=torch.float64),
            shape.rope_base ** (-pairs / shape.head_dim),
        )
        self.register_buffer("cos", turns.cos().float(), persistent=False)
        self.register_buffer("sin", turns.sin().float(), persistent=False)

    def forward(self, tokens: Tensor, drop: Tensor | None = None) -> Tensor:
        """Logits for every position: [rows, tokens] -> [rows, tokens, vocab]."""
        n = tokens.shape[1]
        x = thin(self.token_embd(tokens), drop)
        for block in self.blk:
            x = block(x, self.cos[:n], self.sin[:n], drop)
        return self.output_norm(x) @ self.token_embd.weight.T

    def step(self, tokens: Tensor, at: int, cache: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Logits after one more token per row, at position `at`: [rows] -> [rows, vocab]."""
        x = self.token_embd(tokens)[:, None]
        cos, sin = self.cos[at : at + 1], self.sin[at : at + 1]
        for block, (keys, values) in zip(self.blk, cache, strict=True):
            x = block(x, cos, sin, None, (keys, values, at))
        return (self.output_norm(x) @ self.token_embd.weight.T)[:, 0]

    def new_cache(self, rows: int, tokens: int) -> list[tuple[Tensor, Tensor]]:
        s, w = self.shape, self.token_embd.weight
        size = (rows, s.kv_heads, tokens, s.head_dim)
        return [(w.new_zeros(size), w.new_zeros(size)) for _ in range(s.layers)]


@torch.no_grad()
def continue_(
    model: Llama, prompts: list[list[int]], *, length: int, stop: tuple[int, ...] = (),
    temperature: float = 0.0, seed: int = 0,
) -> list[list[int]]:  # fmt: skip
    """What the model says after each prompt, up to `length` tokens of prompt and answer together.

    All rows go in step.  A prompt is only tokens that we do not choose, so nothing is padded: row r
    takes its own prompt's token while it has one, and its own choice from then on.
    """
    device = model.token_embd.weight.device
    draw = torch.Generator(device=device).manual_seed(seed)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    rows = torch.zeros(len(prompts), length, dtype=torch.long, device=device)
    for row, prompt in zip(rows, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt, device=device)
    stops = torch.tensor(stop or (-1,), device=device)
    done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    ends = torch.full((len(prompts),), length, device=device)
    cache = model.new_cache(len(prompts), length)
    for at in range(length - 1):
        logits = model.step(rows[:, at], at, cache).float()
        if temperature:
            chances = (logits / temperature).softmax(-1)
            choice = torch.multinomial(chances, 1, generator=draw)[:, 0]
        else:
            choice = logits.argmax(-1)
        ours = at + 1 >= lengths
        rows[:, at + 1] = torch.where(ours, choice, rows[:, at + 1])
        stopping = ours & ~done & torch.isin(choice, stops)
        ends = torch.where(stopping, at + 1, ends)
        done |= stopping
        if at % 16 == 0 and bool(done.all()):
            break
    said = zip(rows.tolist(), lengths.tolist(), ends.tolist(), strict=True)
    return [row[start:end] for row, start, end in said]


def quantised(model: Llama) -> Llama:
    """A copy whose matrices hold the values Q8_0 will store."""
    copy = Llama(model.shape).to(model.token_embd.weight.device)
    state = {name: q8_0(w) if w.ndim == 2 else w for name, w in model.state_dict().items()}
    copy.load_state_dict(state)
    return copy.eval()


def q8_0(w: Tensor) -> Tensor:
    """32 weights share a float16 scale, each an int8 multiple of it (with ggml's rounding)."""
    blocks = w.float().reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    steps = torch.where(scale > 0, blocks / scale, 0)
    steps = steps.abs().add(0.5).floor() * steps.sign()  # halves away from zero, as roundf does
    return (steps * scale.half().float()).reshape(w.shape)
