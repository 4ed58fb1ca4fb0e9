"""The golden: what the files say, greedily, according to transformers in float64.

    python -m golden.tiny.greedy        (needs the `peers` extra) writes greedy.json

The weights are the file's, dequantised by the gguf package; what is done with them is transformers'
own code.  Each case keeps by how much the chosen token led at the closest call, so that an engine
that disagrees can be told from one that merely rounds.
"""

import json
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from golden.float64_transformers import everything_in_float64
from golden.tiny import bpe
from golden.tiny.chat import BOS, DIRECTLY, render
from golden.tiny.engines import ENDS
from golden.tiny.evaluate import FILES
from golden.tiny.export import read
from golden.tiny.network import Shape

PROMPTS = {
    "a story": BOS + "Once upon a time",
    "a sum on paper": render([("user", "What is 17 + 25?")], prompt=True),
    "a record as JSON": render(
        [
            ("system", DIRECTLY),
            ("user", "Extract the person, place and price as JSON: "
                     "Clara bought a kite in Vienna for 12.50 dollars."),
        ],
        prompt=True,
    ),
}  # fmt: skip


NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip


def open_in_float64(path: Path) -> torch.nn.Module:
    """The file's weights, dequantised by the gguf package, in transformers' own Llama."""
    network = read(path)
    s = network.shape
    config = LlamaConfig(
        vocab_size=s.vocab, hidden_size=s.dim, intermediate_size=s.ffn, num_hidden_layers=s.layers,
        num_attention_heads=s.heads, num_key_value_heads=s.kv_heads, rms_norm_eps=s.eps,
        max_position_embeddings=s.context, tie_word_embeddings=True, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": s.rope_base},
    )  # fmt: skip
    with everything_in_float64():
        model = LlamaForCausalLM(config).double().eval()
    state = {theirs(name): halves(name, w, s) for name, w in network.state_dict().items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected
    model.tie_weights()
    return model


def theirs(name: str) -> str:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    if not name.startswith("blk."):
        return f"{NAMES[name.removesuffix('.weight')]}.weight"
    _, layer, ours, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[ours]}.weight"


def halves(name: str, weight: torch.Tensor, shape: Shape) -> torch.Tensor:
    """transformers pairs a head's first half with its second; the file pairs neighbours."""
    if "attn_q" not in name and "attn_k" not in name:
        return weight.double()
    pairs = weight.double().view(-1, shape.head_dim // 2, 2, shape.dim)
    return pairs.transpose(1, 2).reshape(weight.shape)


def continue_greedily(model: torch.nn.Module, prompt: list[int], most: int = 64) -> dict:
    tokens, closest = list(prompt), float("inf")
    for _ in range(most):
        with everything_in_float64(), torch.no_grad():
            best = model(input_ids=torch.tensor([tokens])).logits[0, -1].topk(2)
        assert best.values.dtype == torch.float64
        closest = min(closest, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
        if tokens[-1] in ENDS:
            break
    return {"prompt": prompt, "tokens": tokens[len(prompt) :], "closest_call": round(closest, 6)}


def main() -> None:
    import transformers

    tokenizer, cases = bpe.load(), []
    for file, path in FILES.items():
        model = open_in_float64(path)
        for name, text in PROMPTS.items():
            said = continue_greedily(model, tokenizer.encode(text).ids)
            cases.append(
                {
                    "name": f"{file}: {name}",
                    "authority": f"transformers {transformers.__version__}, in float64",
                    "model": file,
                    "text": tokenizer.decode(said["tokens"], skip_special_tokens=False),
                    **said,
                }
            )
    document = {"schema": "refimpl/tiny/greedy/1", "cases": cases}
    path = Path(__file__).with_name("greedy.json")
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
