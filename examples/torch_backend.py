"""A stranger's backend: PyTorch multiplies, everything else is put together from the reference.

    refimpl conform --backend examples.torch_backend:make_backend

Row by row (`mv`) a product does not depend on the batch; with `x @ w.T` the suite's L1 finds rows
that change with their neighbours.
"""

import torch

from refimpl.backend import Composed
from refimpl.ops.reference import Reference


class TorchOps(Reference):
    def linear(self, x, weight, bias=None):
        w = torch.from_numpy(weight[...].astype("float32"))
        y = torch.empty(len(x), len(w))  # a step may ask for no rows at all
        for row, out in zip(x, y, strict=True):
            torch.mv(w, torch.from_numpy(row.copy()), out=out)
        return (y if bias is None else y + torch.from_numpy(bias.astype("float32"))).numpy()


def make_backend():
    return Composed(TorchOps(), name="torch")
