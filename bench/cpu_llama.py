"""llama.cpp, through its Python bindings, doing exactly what is measured and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np


class Llama:
    """A model in llama.cpp with a context; `repack=False` keeps GGUF's own layout.

    On a GPU (`-ngl 99 -fa 1`) sequences do not share a cache, as in its own batched benchmark.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int,
        context: int,
        sequences: int = 1,
        repack: bool = True,
        gpu: bool = False,
    ) -> None:
        import llama_cpp

        self.api: Any = llama_cpp
        silence(llama_cpp)
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.use_extra_bufts = repack
        params.n_gpu_layers = 99 if gpu else 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.threads, self.gpu, self.context = threads, gpu, None
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(2048, 0, 1)
        self.open(context, sequences)

    def open(self, context: int, sequences: int) -> None:
        """An empty cache, in the place of the one before."""
        if self.context:
            self.api.llama_free(self.context)
        options = self.api.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = context, 2048, 512
        options.n_threads = options.n_threads_batch = self.threads
        options.n_seq_max = sequences
        options.kv_unified = not self.gpu
        if self.gpu:
            options.flash_attn_type = self.api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        options.no_perf = True
        self.context = self.api.llama_init_from_model(self.model, options)

    def with_threads(self, threads: int) -> "Llama":
        """The same context, from now on with so many threads."""
        self.api.llama_set_n_threads(self.context, threads, threads)
        return self

    def run(
        self, tokens: list[int], positions: list[int], sequences: list[int], rows: list[int]
    ) -> None:
        """One batch; logits of `rows`."""
        self.fill(tokens, positions, sequences, rows)
        self.decode()

    def fill(
        self, tokens: list[int], positions: list[int], sequences: list[int], rows: list[int]
    ) -> None:
        if positions[0] == 0:
            self.clear()
        else:  # what a run before this one left beyond the context
            memory = self.api.llama_get_memory(self.context)
            for s, p in dict(zip(reversed(sequences), reversed(positions), strict=True)).items():
                self.api.llama_memory_seq_rm(memory, s, p, -1)
        self.rows = rows
        b = self.batch
        b.n_tokens = len(tokens)
        wanted = set(rows)
        batch = zip(tokens, positions, sequences, strict=True)
        for i, (token, position, sequence) in enumerate(batch):
            b.token[i], b.pos[i] = token, position
            b.n_seq_id[i], b.seq_id[i][0] = 1, sequence
            b.logits[i] = i in wanted

    def decode(self) -> None:
        if self.api.llama_decode(self.context, self.batch):
            raise RuntimeError("llama_decode failed")

    def best(self, i: int = -1) -> int:
        """The most probable token of the i-th row that was asked for."""
        logits = self.api.llama_get_logits_ith(self.context, self.rows[i])  # by token, not by row
        return int(np.ctypeslib.as_array(logits, (self.vocab,)).argmax())

    def clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def close(self) -> None:
        self.api.llama_batch_free(self.batch)
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)


_kept: list[Any] = []


def silence(llama_cpp: Any) -> None:
    @llama_cpp.llama_log_callback
    def nothing(level: int, text: bytes, data: Any) -> None:
        pass

    _kept.append(nothing)
    llama_cpp.llama_log_set(nothing, None)
