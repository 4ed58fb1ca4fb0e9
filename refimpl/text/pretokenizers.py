r"""Every named rule for cutting text into words, as data.

A GGUF file does not carry its expressions, only a name, `tokenizer.ggml.pre`; what the name means
is a table in llama.cpp (`src/llama-vocab.cpp`), and this is its counterpart.  Where llama.cpp
quotes the expression of the model's own tokenizer.json and then approximates it, because C++ has no
Unicode classes (tekken, gpt-4o), the row holds the model's own.

A name says three things: the expressions, applied one after the other (`refimpl.text.splitting`);
whether a word that is itself a token skips the merges (`ignore_merges`); and whether the beginning-
of-text token is added when the file does not say.

>>> from refimpl.text.splitting import cut
>>> cut("It's 2024!", pretokenizer("gpt-2").splits)
['It', "'s", ' 2024', '!']
>>> cut("It's 2024!", pretokenizer("llama-bpe").splits)
['It', "'s", ' ', '202', '4', '!']
"""

from dataclasses import dataclass
from functools import cache

from refimpl.errors import UnsupportedError
from refimpl.text.splitting import Split


@dataclass(frozen=True, kw_only=True)
class PreTokenizer:
    """One row of the table: all the names llama.cpp gives it, the one we write first."""

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(Split(pattern=pattern) for pattern in self.patterns)


def pretokenizer(name: str) -> PreTokenizer:
    """The row of a name.  An unknown one is an error: a wrong rule gives plausible wrong ids."""
    row = _by_name().get(name)
    if row is None:
        known = ", ".join(sorted(_by_name()))
        raise UnsupportedError(f"unknown pre-tokeniser {name!r}; this project knows {known}")
    return row


@cache
def _by_name() -> dict[str, PreTokenizer]:
    return {name: row for row in ROWS for name in row.names}


def among(hexadecimal: str) -> str:
    """The inside of a character class, from code points and ranges: "41-5A B5" is `A-Zµ`."""
    ranges = (item.split("-") for item in hexadecimal.split())
    return "".join("-".join(chr(int(end, 16)) for end in ends) for ends in ranges)


CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s+(?!\S)|\s+"
"""Ends nearly every expression: a run of spaces leaves its last one to the word that follows."""
ASCII_PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""

GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{SPACES}"


def cl100k(
    numbers: str,
    *,
    head: str = CONTRACTION + "|",
    letters: str = r"[^\r\n\p{L}\p{N}]?\p{L}+",
    punctuation: str = r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    newlines: str = r"\s*[\r\n]+",
    spaces: str = SPACES,
) -> str:
    """The shape OpenAI's cl100k gave to Llama 3, Qwen and many more, up to a part or two."""
    return f"{head}{letters}|{numbers}|{punctuation}|{newlines}|{spaces}"


def o200k(
    numbers: str,
    *,
    tail: str = "",
    capital: str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
    small: str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
    punctuation: str = r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
) -> str:
    """The shape of o200k: a word also ends where a capital follows small letters."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    words = f"{lead}{capital}*{small}+{tail}|{lead}{capital}+{small}*{tail}"
    return cl100k(numbers, head="", letters=words, punctuation=punctuation)


def deepseek_v3(punctuation: str = r" ?[\p{P}\p{S}]+[\r\n]*", newlines: str = r"\s*[\r\n]+") -> str:
    letters = rf"{ASCII_PUNCTUATION}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
    return f"{letters}|{punctuation}|{newlines}|{SPACES}"


LLAMA3 = cl100k(r"\p{N}{1,3}")
QWEN2 = cl100k(r"\p{N}")
O200K = o200k(r"\p{N}{1,3}", tail=CONTRACTION + "?")
NOT_HAN = {"capital": r"(?:(?!\p{Han})[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"}
NOT_HAN["small"] = r"(?:(?!\p{Han})[\p{Ll}\p{Lm}\p{Lo}\p{M}])"
HALVING_SPACES = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2"))
NO_SENTENCE_MARKS = f" ?[^(\\s|.,!?){among('2026 3002 FF0C 3001 0964 06D4 060C')}]+"
CJK = f"[{among('4E00-9FA5 3040-309F 30A0-30FF')}]+"
IDEOGRAPHS = f"[{among('4E00-9FA5 0800-4E00 AC00-D7FF')}]+"
DIGITS_FROM_THE_RIGHT = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
CASED_LETTERS = among(
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376-377 37B-37D 37F "
    "386 388-38A 38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD "
    "1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 "
    "1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 "
    "1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 "
    "2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183-2184 "
    "2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2-2CF3 A640-A66D A680-A69B A722-A76F A771-A787 "
    "A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 "
    "104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943"
)
WESTERN_AND_CJK_MARKS = among("21-2F 3A-7E FF01-FF0F FF1A-FF5E 2018-201F 3000-3002")
YOUTU_SCRIPTS = "|".join(
    f"[{among(ranges)}]+"
    for ranges in (
        "AC00-D7A3 3131-318E",
        "FF01 2026 201C-201D 2018-2019 2014 FF1A-FF1B FF0C 3001-303F FE30-FE4F",
        "3105-312F",
        "4E00-9FA5 3040-309F 30A0-30FF",
    )
)
UNSPACED_SCRIPTS = among(
    "4E00-9FFF 3400-4DBF 8C48-FAFF 3040-309F 30A0-30FF FF65-FF9F 2F00-2FDF 0E40-0E7F 0E80-0EFF"
    " 1780-17FF 1000-109F AA60-AA7F A9E0-A9FF AC00-D7AF 1100-11FF"
)

ROWS = (
    PreTokenizer(
        names=(
            *("gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat"),
            *("a.x-4.0", "mellum", "modern-bert", "mpt", "olmo", "jais", "trillion"),
            *("granite-docling", "exaone4"),
        ),
        patterns=(GPT2,),
    ),
    PreTokenizer(
        names=(
            *("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0"),
            *("lfm2", "jina-v5-nano"),
        ),
        patterns=(LLAMA3,),
        ignore_merges=True,
        add_bos=True,
    ),
    PreTokenizer(names=("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), patterns=(LLAMA3,)),
    PreTokenizer(
        names=(
            *("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "megrez", "hunyuan"),
            *("solar-open", "grok-2"),
        ),
        patterns=(QWEN2,),
    ),
    PreTokenizer(
        names=("qwen35",),
        patterns=(
            cl100k(
                r"\p{N}",
                letters=r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
                punctuation=r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
            ),
        ),
    ),
    PreTokenizer(names=("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), patterns=(O200K,)),
    PreTokenizer(names=("tekken",), patterns=(o200k(r"\p{N}"),), ignore_merges=True, add_bos=True),
    PreTokenizer(names=("tiny_aya", "cohere2moe"), patterns=(r"\d{1,3}(?=(?:\d{3})*\b)", O200K)),
    PreTokenizer(
        names=("kimi-k2",),
        patterns=(
            r"\p{Han}+|"
            + o200k(
                r"\p{N}{1,3}",
                tail=CONTRACTION + "?",
                punctuation=r" ?[^\s\p{L}\p{N}]+[\r\n]*",
                **NOT_HAN,
            ),
        ),
    ),
    PreTokenizer(
        names=("youtu",),
        patterns=(YOUTU_SCRIPTS, o200k(r"\p{N}", tail=CONTRACTION + "?")),
        ignore_merges=True,
    ),
    PreTokenizer(
        names=("falcon",),
        patterns=(r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"),
    ),
    PreTokenizer(
        names=(
            *("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"),
            "mellum2",
        ),
        patterns=(r"\p{N}", GPT2),
    ),
    PreTokenizer(
        names=("deepseek-llm",),
        patterns=(
            r"[\r\n]",
            rf"\s?[{CASED_LETTERS}]+",
            rf"\s?[{WESTERN_AND_CJK_MARKS}]+",
            r"\s+\Z",
            IDEOGRAPHS,
            r"\p{N}+",
        ),
    ),
    PreTokenizer(
        names=("deepseek-coder",),
        patterns=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", IDEOGRAPHS, r"\p{N}"),
    ),
    PreTokenizer(
        names=("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
        patterns=(r"\p{N}{1,3}", CJK, deepseek_v3()),
    ),
    PreTokenizer(
        names=("spark2_5",),
        patterns=(
            *(r"\p{N}{1,3}", CJK, deepseek_v3(r" ?[\p{P}\p{S}]+", r"[\r\n]")),
            r"\p{N}",
        ),
    ),
    PreTokenizer(
        names=("afmoe",),
        patterns=(DIGITS_FROM_THE_RIGHT, f"[{UNSPACED_SCRIPTS}]+", deepseek_v3()),
    ),
    PreTokenizer(names=("poro-chat", "bloom", "gpt3-finnish"), patterns=(NO_SENTENCE_MARKS,)),
    PreTokenizer(names=("viking",), patterns=(NO_SENTENCE_MARKS, r"\p{N}")),
    PreTokenizer(
        names=("chameleon",),
        patterns=(
            r"<sentinel:[0-9]+>",
            r"IMGIMG[A-I]{1,4}Z",
            r"[\t\n]|    |  ",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ),
        add_bos=True,
    ),
    PreTokenizer(names=("superbpe",), patterns=(r"\p{N}+", r"(?=(?:\d{3})+(?!\d))")),
    PreTokenizer(
        names=("bailingmoe", "bailingmoe2", "llada-moe"),
        patterns=(cl100k(r"\p{N}", head=r"'(?i:[sdmt]|ll|ve|re)|", newlines=r"\s*[\r\n]"),),
    ),
    PreTokenizer(
        names=("seed-coder",),
        patterns=(cl100k(r"\p{N}", punctuation=r" ?[^\s\p{L}\p{N}\r\n]+"),),
    ),
    PreTokenizer(names=("ufakzeka",), patterns=(cl100k(r"\p{N}", head=""),)),
    PreTokenizer(
        names=("jais-2",), patterns=(cl100k(r"\p{N}{1,3}", spaces=HALVING_SPACES + r"|\s"),)
    ),
    PreTokenizer(names=("laguna",), patterns=(r"[^\n]+|\n+", QWEN2)),
    PreTokenizer(
        names=("exaone-moe",),
        patterns=(
            cl100k(
                r"\p{N}",
                letters=r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+",
                punctuation=r" ?[^\s\p{L}\p{N}]+[\r\n/]?",
                newlines=r"\s*[\r\n]",
            ),
        ),
    ),
    PreTokenizer(
        names=("minicpm5",),
        patterns=(r"\p{N}{1,3}", cl100k(r"\p{N}+")),
        ignore_merges=True,
    ),
    PreTokenizer(names=("granite-embed-multi-97m",), patterns=(O200K,), ignore_merges=True),
    PreTokenizer(
        names=("default",),
        patterns=(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    ),
)
