"""Muon for the matrices, AdamW for the rest.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) replaces each matrix's
momentum by the nearest orthogonal matrix, so that every direction of the update is equally long.
Five steps of a quintic Newton-Schulz iteration come near enough; the coefficients are that page's.
Matrices of one shape are done as one batch.
"""

import torch
from torch import Tensor, nn


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """[batch, m, n], each roughly U V^T of its singular value decomposition, in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, matrices: list[nn.Parameter], *, lr: float, momentum: float, decay: float):
        by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for p in matrices:
            by_shape.setdefault(tuple(p.shape), []).append(p)
        groups = [{"params": same} for same in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            same, lr = group["params"], group["lr"]
            grads = [p.grad for p in same]
            for p in same:
                if "m" not in self.state[p]:
                    self.state[p]["m"] = torch.zeros_like(p)
            moments = [self.state[p]["m"] for p in same]
            torch._foreach_lerp_(moments, grads, 1 - group["momentum"])
            ahead = torch._foreach_lerp(grads, moments, group["momentum"])  # Nesterov
            m, n = same[0].shape
            updates = orthogonal(torch.stack(ahead)) * max(1, m / n) ** 0.5
            torch._foreach_mul_(same, 1 - lr * group["decay"])
            torch._foreach_add_(same, list(updates.to(same[0].dtype).unbind()), alpha=-lr)


class Descent:
    """Both optimisers as one: `step(loss, rate)` goes down, at `rate` times the peak rates."""

    def __init__(self, model: nn.Module, *, matrix_lr: float, other_lr: float, decay: float):
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and "embd" not in name]
        others = [p for name, p in named if p.ndim < 2 or "embd" in name]
        adam = torch.optim.AdamW(
            others, lr=other_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        self.both = (Muon(matrices, lr=matrix_lr, momentum=0.95, decay=decay), adam)
        self.peaks = [[group["lr"] for group in one.param_groups] for one in self.both]

    def step(self, loss: Tensor, rate: float) -> None:
        loss.backward()
        for one, peaks in zip(self.both, self.peaks, strict=True):
            for group, peak in zip(one.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
            one.step()
            one.zero_grad(set_to_none=True)


def learning_rate(step: int, steps: int, *, warm: int = 100, hold: float = 0.4) -> float:
    """As a fraction of the peak: a short rise, a plateau, and a straight fall to zero.

    >>> [learning_rate(step, 1000) for step in (0, 50, 100, 400, 1000)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    return min(1.0, step / warm, (1 - step / steps) / (1 - hold))
