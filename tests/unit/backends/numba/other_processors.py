"""Run as a program, for a processor named by NUMBA_CPU_NAME: digests of products, as JSON.

With `arm` as its argument it prints the assembly of two kernels for an ARM processor instead.
"""

import hashlib
import json
import re
import sys

import numpy as np


def digests() -> dict[str, str]:
    """The bits of products with several block types, one token and eight."""
    from backends.numba.processor import ISA
    from refimpl.formats.quants import block_type
    from tests.unit.backends.numba.specimens import COLUMNS, backend, matrix

    x = np.random.default_rng(1).standard_normal((9, COLUMNS)).astype(np.float32)
    found = {"isa": ISA}
    for name in ("Q8_0", "Q4_0", "Q4_K", "Q6_K", "F16", "BF16"):
        numba = backend("half")
        y = numba.ops.linear(x, numba.weight(matrix(block_type(name))))
        found[name] = hashlib.sha256(y.tobytes()).hexdigest()
    return found


def arm_assembly() -> dict[str, str]:
    """Kernels in LLVM's language, compiled for a Neoverse N1 instead of this machine."""
    import llvmlite.binding as llvm

    from backends.numba.formats import FORMATS

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="neoverse-n1", opt=3)
    found = {}
    for name in ("Q8_0", "Q4_0", "BF16"):
        kernel = FORMATS[name].multiplier("half")
        assert kernel.address
        text = re.sub(r"^target .*$", "", kernel._keep.inspect_llvm(), flags=re.M)
        text = re.sub(r'"(target-cpu|target-features)"="[^"]*"', "", text)
        found[name] = machine.emit_assembly(llvm.parse_assembly(text))
    return found


if __name__ == "__main__":
    print(json.dumps(arm_assembly() if sys.argv[1:] == ["arm"] else digests()))
