"""Write golden/families: a small random checkpoint of every family, and its float64 logits.

    python golden/make_families.py          needs the `peers` extra

families.json is {"schema", "cases"}; a case names its checkpoint folder, token ids and authority,
and its logits as {"tensor": KEY}: a tensor of families.safetensors, float64 [tokens, vocab].
Weights are float16 values, so that the folder stays small; both engines widen them exactly.
"""

import json
from pathlib import Path

import numpy as np
import transformers
from family_configs import FAMILIES
from float64_transformers import logits, random_model
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent / "families"
N_TOKENS = 12


def main() -> None:
    cases, arrays = [], {}
    for name, config in FAMILIES.items():
        model = random_model(config(), sum(name.encode()), precision="float16")
        folder = HERE / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        weights = load_file(folder / "model.safetensors")
        save_file(
            {k: w.astype(np.float16) for k, w in weights.items()}, folder / "model.safetensors"
        )
        tokens = np.random.default_rng(len(name)).integers(0, 97, N_TOKENS).tolist()
        arrays[name] = logits(model, tokens)
        cases.append(
            {
                "name": name,
                "authority": f"transformers {transformers.__version__}, float64, eager attention",
                "checkpoint": name,
                "context_length": N_TOKENS if "longrope" in name else None,
                "tokens": tokens,
                "logits": {"tensor": name},
                "relative_bound": 1e-10,
            }
        )
    document = {"schema": "refimpl/families/1", "cases": cases}
    (HERE / "families.json").write_text(json.dumps(document, indent=1) + "\n")
    save_file(arrays, HERE / "families.safetensors")


if __name__ == "__main__":
    main()
