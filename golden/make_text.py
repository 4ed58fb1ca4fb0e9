"""Write golden/text: token ids of the embedded model's vocabulary, by llama.cpp.

    python golden/make_text.py          needs the `peers` extra

ids.json: text -> ids without BOS; with `parse_special`, markers in the text are markers.
"""

import json
from pathlib import Path

import llama_cpp

ROOT = Path(__file__).parent.parent

TEXTS = [
    "",
    " ",
    "Once upon a time, there was a little girl named Lily.",
    "What is 17 + 25?",
    "12345 - 999 = 11346",
    "don't  can't\tI'LL\n\n\nyes",
    "   leading, trailing   ",
    "naïve café, Ünïcödé — “quotes” …",
    "日本語と中文 и русский",
    "👩‍👩‍👧 🏳️‍🌈 e\u0301",
    "<|im_start|>user\nhello<|im_end|>",
    "<think>2+2</think>4",
    "\u00a0\u2003\u200b\ufeff",
    "x" * 50,
    "a.b,c;d:e!f?g(h)i[j]k{l}m",
]


def main() -> None:
    model = ROOT / "refimpl" / "data" / "tiny.gguf"
    llama = llama_cpp.Llama(str(model), vocab_only=True, verbose=False)
    cases = [
        {
            "name": f"{number}{' with markers' if markers else ''}",
            "authority": f"llama.cpp, by llama-cpp-python {llama_cpp.__version__}",
            "text": text,
            "parse_special": markers,
            "ids": llama.tokenize(text.encode(), add_bos=False, special=markers),
        }
        for number, text in enumerate(TEXTS)
        for markers in (False, True)
    ]
    folder = ROOT / "golden" / "text"
    folder.mkdir(exist_ok=True)
    document = {
        "schema": "refimpl/text/ids/1",
        "vocabulary": "refimpl/data/tiny.gguf",
        "cases": cases,
    }
    (folder / "ids.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
