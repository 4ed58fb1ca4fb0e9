"""Other processors: the AVX2 and the portable path run here, the ARM path is at least compiled."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

ROOT = Path(__file__).resolve().parents[4]
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
pytestmark = pytest.mark.skipif(not ON_X86, reason="names processors of x86")


def as_if_on(cpu, *arguments, **environment):
    program = [sys.executable, "-m", "tests.unit.backends.numba.other_processors", *arguments]
    env = {**os.environ, "NUMBA_CPU_NAME": cpu, **environment}
    done = subprocess.run(program, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_avx2_and_the_portable_path_give_the_same_bits():
    """Integer sums are exact, and floats are added in one order, whatever the vectors' width."""
    avx2, portable = as_if_on("haswell"), as_if_on("ivybridge")
    assert (avx2.pop("isa"), portable.pop("isa")) == ("avx2", "generic")
    assert avx2 == portable


def test_this_processor_gives_them_too():
    from tests.unit.backends.numba.other_processors import digests

    ours, portable = digests(), as_if_on("ivybridge")
    ours.pop("isa"), portable.pop("isa")
    assert ours == portable


def test_on_arm_four_products_of_bytes_are_one_instruction():
    import llvmlite.binding as llvm
    from llvmlite import ir

    from backends.numba import processor, simd

    module = ir.Module()
    kinds = [simd.Ints.ll, simd.Bytes.ll, simd.Bytes.ll]
    function = ir.Function(module, ir.FunctionType(kinds[0], kinds), "dot")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(processor.DOT["neon"](builder, *function.args))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="neoverse-n1", opt=3)
    assembly = machine.emit_assembly(llvm.parse_assembly(str(module)))
    names = [line.split()[0] for line in assembly.splitlines() if line.startswith("\t")]
    assert names.count("sdot") == 4 and not set(names) & {"smull", "smull2", "mul"}


def test_whole_kernels_compile_for_arm(tmp_path):
    """With the portable product of bytes, since this machine's LLVM cannot select the other."""
    for name, assembly in as_if_on("ivybridge", "arm", NUMBA_CACHE_DIR=str(tmp_path)).items():
        names = [line.split()[0] for line in assembly.splitlines() if line.startswith("\t")]
        assert names.count("fmla") >= 8, name
        calls = {line.split()[1] for line in assembly.splitlines() if line.startswith("\tbl\t")}
        assert all(call.startswith(("Py", "numba_", "_ZN8backends")) for call in calls), calls
