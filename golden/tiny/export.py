"""Write a checkpoint as the GGUF that the package carries: matrices in Q8_0, norms in float32.

    python -m golden.tiny.export target.safetensors refimpl/data/tiny.gguf
    python -m golden.tiny.export draft.safetensors refimpl/data/tiny-draft.gguf

Nothing is permuted: the network was trained with the rotary layout that llama.cpp stores, and there
is no `output.weight`, because the output is tied to the embedding.
"""

import json
from pathlib import Path

import click
import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType

from golden.tiny import bpe
from golden.tiny.chat import CLOSE, END, OPEN, SPECIAL, TEMPLATE
from golden.tiny.network import Llama, Shape
from golden.tiny.train import load

Q8_0 = GGMLQuantizationType.Q8_0
SHAPE_KEYS = {
    "vocab": "vocab_size",
    "dim": "embedding_length",
    "layers": "block_count",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "ffn": "feed_forward_length",
    "context": "context_length",
    "rope_base": "rope.freq_base",
    "eps": "attention.layer_norm_rms_epsilon",
}


def describe(writer: GGUFWriter, shape: Shape, name: str) -> None:
    writer.add_name(name)
    writer.add_description(
        "A very small Llama for children's stories and verifiable skills, trained from nothing "
        "for refimpl. docs/tiny.md says how, and what it can and cannot do."
    )
    writer.add_license("apache-2.0")
    writer.add_string("general.dataset.0.name", "TinyStories (CDLA-Sharing-1.0), 9262 stories")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocab)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)


def add_tokenizer(writer: GGUFWriter) -> None:
    """Byte-level BPE as llama.cpp stores it.  The scratchpad marks are ordinary visible text."""
    tokenizer = json.loads(bpe.load().to_str())
    vocab: dict[str, int] = tokenizer["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    kinds = dict.fromkeys(SPECIAL, TokenType.CONTROL)
    kinds |= dict.fromkeys((OPEN, CLOSE), TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_eot_token_id(SPECIAL.index(END))
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE)


def add_weights(writer: GGUFWriter, model: Llama) -> None:
    for name, weight in model.state_dict().items():
        values = weight.numpy().astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, Q8_0), raw_dtype=Q8_0)


def read(path: Path) -> Llama:
    """The network that a file written here holds, its weights dequantised."""
    reader = gguf.GGUFReader(path)
    shape = Shape(
        **{name: reader.fields[f"llama.{key}"].contents() for name, key in SHAPE_KEYS.items()}
    )
    model = Llama(shape)
    state = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    model.load_state_dict({name: torch.tensor(values) for name, values in state.items()})
    return model.eval()


@click.command()
@click.argument("checkpoint", type=Path)
@click.argument("path", type=Path)
def main(checkpoint: Path, path: Path) -> None:
    model = load(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    describe(writer, model.shape, path.stem)
    add_tokenizer(writer)
    add_weights(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
