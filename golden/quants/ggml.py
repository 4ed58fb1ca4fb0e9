"""ggml's own C code, called through ctypes: the authority behind the golden vectors and the tests.

The shared library `libggml-base` comes with llama-cpp-python.  Only functions whose signature is
plain C are called, found by name: `dequantize_row_*`, `quantize_row_*_ref` and
`ggml_quantize_chunk`.  That library is compiled for the baseline of its processor family (the
flags for one's own machine go to `libggml-cpu` alone), so no multiply-add is fused and every
float operation rounds by itself.
"""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

FLOATS, BYTES = ctypes.POINTER(ctypes.c_float), ctypes.c_void_p


def library_path() -> Path | None:
    """Where llama-cpp-python keeps libggml-base, or None if it is not installed."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("lib/libggml-base.*"))
    return found[0] if found else None


@cache
def library() -> ctypes.CDLL:
    path = library_path()
    assert path is not None, "pip install llama-cpp-python"
    return ctypes.CDLL(str(path))


def version() -> str:
    f = library().ggml_version
    f.restype = ctypes.c_char_p
    return f().decode()


def _c_name(name: str) -> str:
    """Q4_0 -> q4_0, but Q4_K -> q4_K."""
    return name.lower().removesuffix("_k") + ("_K" if name.endswith("_K") else "")


def dequantize(name: str, blocks: np.ndarray, n_weights: int) -> np.ndarray:
    """float32 [n_weights] from the bytes of whole blocks."""
    row_function = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}
    f = getattr(library(), row_function.get(name, f"dequantize_row_{_c_name(name)}"))
    f.argtypes, f.restype = [BYTES, BYTES, ctypes.c_int64], None
    packed = np.ascontiguousarray(blocks)
    y = np.empty(n_weights, dtype=np.float32)
    f(packed.ctypes.data, y.ctypes.data, n_weights)
    return y


def quantize_row_ref(name: str, weights: np.ndarray, n_bytes: int) -> np.ndarray:
    """uint8 [n_bytes] by `quantize_row_*_ref`: the only way to Q8_1 and Q8_K."""
    f = getattr(library(), f"quantize_row_{_c_name(name)}_ref")
    f.argtypes, f.restype = [BYTES, BYTES, ctypes.c_int64], None
    x = np.ascontiguousarray(weights, dtype=np.float32)
    packed = np.zeros(n_bytes, dtype=np.uint8)
    f(x.ctypes.data, packed.ctypes.data, x.size)
    return packed


def quantize_chunk(
    type_id: int, weights: np.ndarray, row_bytes: int, importance: np.ndarray | None = None
) -> np.ndarray:
    """uint8 [rows, row_bytes] from float32 [rows, n]; `importance` is float32 [n]."""
    f = library().ggml_quantize_chunk
    f.argtypes = [ctypes.c_int, BYTES, BYTES, *[ctypes.c_int64] * 3, BYTES]
    f.restype = ctypes.c_size_t
    x = np.ascontiguousarray(weights, dtype=np.float32)
    packed = np.zeros((len(x), row_bytes), dtype=np.uint8)
    by = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
    f(
        type_id,
        x.ctypes.data,
        packed.ctypes.data,
        0,
        *x.shape,
        by.ctypes.data if by is not None else None,
    )
    return packed


@cache
def cpu_library() -> ctypes.CDLL:
    path = library_path()
    assert path is not None, "pip install llama-cpp-python"
    library()  # libggml-cpu needs it
    cpu = ctypes.CDLL(str(path.with_name(path.name.replace("base", "cpu"))))
    cpu.ggml_cpu_init()  # its tables
    return cpu


def vec_dot(name: str, act: str, weights: np.ndarray, activations: np.ndarray, n: int) -> float:
    """One dot product by ggml's kernel for this CPU, from packed bytes."""
    f = getattr(cpu_library(), f"ggml_vec_dot_{_c_name(name)}_{_c_name(act)}")
    f.argtypes = [
        ctypes.c_int,
        FLOATS,
        ctypes.c_size_t,
        *[BYTES, ctypes.c_size_t] * 2,
        ctypes.c_int,
    ]
    f.restype = None
    w, x = np.ascontiguousarray(weights), np.ascontiguousarray(activations)
    result = ctypes.c_float()
    f(n, ctypes.byref(result), 0, w.ctypes.data, 0, x.ctypes.data, 0, 1)
    return result.value
