"""What several commands share: options, and what is opened from them.

Which backends there are is not known here: `cli.py` hands a table of factories down (`ctx.obj`).
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refimpl.errors import InputError

if TYPE_CHECKING:
    from refimpl.backend import Backend
    from refimpl.model.load import Loaded
    from refimpl.sampling import SamplingParams

Command = Callable[..., None]

DEFAULT_MODEL = "tiny"
DTYPES = ("float32", "float64", "float16", "bfloat16")
ACTS = ("none", "q8", "half")
CACHES = ("float32", "float16", "bfloat16", "q8_0")


def factories() -> Mapping[str, str]:
    """The backends by name, as `cli.py` knows them."""
    context = click.get_current_context(silent=True)
    known = context.find_root().obj if context else None
    return known if isinstance(known, dict) else {}


def model_option(command: Command) -> Command:
    return click.option(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        show_default=True,
        metavar="NAME|PATH|DIR|hf:ORG/REPO[/FILE]",
        help="An embedded model, a GGUF file, a Hugging Face folder or a llama2.c file.",
    )(command)


def backend_options(command: Command) -> Command:
    """Who computes, and in which of the named modes."""
    for option in (
        click.option(
            "-ngl",
            "--gpu-layers",
            type=click.IntRange(min=0),
            metavar="N",
            help="Only the last N layers on --backend (the output counts as one), the others on "
            "numba; --backend auto is then cupy.",
        ),
        click.option(
            "--threads", type=click.IntRange(min=1), help="[default: every core we may use]"
        ),
        click.option(
            "--cache-type",
            type=click.Choice(CACHES),
            default="float32",
            show_default=True,
            help="What keys and values are kept in.",
        ),
        click.option(
            "--act",
            type=click.Choice(ACTS),
            default="none",
            show_default=True,
            help="q8: quantise activations before they meet quantised weights, as llama.cpp does; "
            "half: also round them to the type of float16 and bfloat16 weights, as it does.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            default="float32",
            show_default=True,
            help="What every operation's result is rounded to (numpy only).",
        ),
        click.option(
            "--backend",
            default="auto",
            show_default=True,
            metavar="auto|numpy|numba|cupy|MODULE:FACTORY",
            help="Who computes; numpy is the reference, and good enough for small models.",
        ),
    ):
        command = option(command)
    return command


def model_options(command: Command) -> Command:
    """Which model, and how it is run."""
    for option in (
        click.option("--context", type=click.IntRange(min=2), help="Cap the context, in tokens."),
        backend_options,
        click.option(
            "--tokenizer",
            type=click.Path(exists=True, path_type=Path),
            help="For models without one: llama2.c's tok*.bin or a SentencePiece .model.",
        ),
        model_option,
    ):
        command = option(command)
    return command


def sampling_options(command: Command) -> Command:
    """How the next token is chosen."""
    for option in (
        click.option(
            "-n", "--max-tokens", type=click.IntRange(min=0), default=256, show_default=True
        ),
        click.option(
            "-t", "--temperature", type=float, default=0.8, show_default=True, help="0: greedy."
        ),
        click.option("--top-k", type=int, default=0, show_default=True, help="0: off."),
        click.option("--top-p", type=float, default=0.95, show_default=True, help="1: off."),
        click.option("--min-p", type=float, default=0.0, show_default=True, help="0: off."),
        click.option("--typical-p", type=float, default=1.0, show_default=True, help="1: off."),
        click.option(
            "--top-n-sigma", type=float, default=-1.0, show_default=True, help="<= 0: off."
        ),
        click.option(
            "--repetition-penalty", type=float, default=1.0, show_default=True, help="1: off."
        ),
        click.option("--frequency-penalty", type=float, default=0.0, show_default=True),
        click.option("--presence-penalty", type=float, default=0.0, show_default=True),
        click.option(
            "--penalty-last-n", type=int, default=64, show_default=True, help="-1: the whole text."
        ),
        click.option("--xtc-probability", type=float, default=0.0, show_default=True),
        click.option("--xtc-threshold", type=float, default=0.1, show_default=True),
        click.option(
            "--dry-multiplier", type=float, default=0.0, show_default=True, help="0: off."
        ),
        click.option("--mirostat", type=click.Choice(["0", "2"]), default="0", show_default=True),
        click.option("--mirostat-tau", type=float, default=5.0, show_default=True),
        click.option("--mirostat-eta", type=float, default=0.1, show_default=True),
        click.option("-s", "--seed", type=int, help="For a repeatable text. [default: a new one]"),
        click.option("--stop", multiple=True, help="Stop before this text; may be given often."),
        click.option("--ignore-eos", is_flag=True, help="Go on where the model would end."),
    ):
        command = option(command)
    return command


def sampling_params(options: dict[str, Any], logprobs: int | None = None) -> "SamplingParams":
    from refimpl.sampling import SamplingParams

    seed = options.pop("seed")
    if seed is None:  # the one place where chance comes from outside
        import secrets

        seed = secrets.randbits(32)
    values = {**options, "mirostat": int(options["mirostat"]), "stop": tuple(options["stop"])}
    if values["mirostat"]:  # it draws the line itself, so our default line steps aside
        values["top_p"] = 1.0
    return SamplingParams(**values, seed=seed, logprobs=logprobs)


def open_model(options: dict[str, Any]) -> "tuple[Loaded, Backend]":
    """Take the model's options out of `options`; load the model and whoever computes it."""
    from refimpl.model.find import find_model
    from refimpl.model.load import load

    name, tokenizer, context = (options.pop(key) for key in ("model", "tokenizer", "context"))
    path = find_model(name)
    if options["backend"] == "auto" and options["gpu_layers"] is None:
        options["backend"] = automatic(path)
    backend = open_backend(options)
    packed = backend.name != "numpy" or backend.reference.act != "none"
    return load(path, context_length=context, tokenizer=tokenizer, packed=packed), backend


def automatic(path: Path) -> str:
    """NumPy for a small model, which it runs at once; compiled code, if it is there, for others."""
    from importlib.util import find_spec

    from refimpl.model.load import is_small, open_checkpoint

    small = is_small(open_checkpoint(path))
    return "numba" if not small and find_spec("numba") and "numba" in factories() else "numpy"


def open_backend(options: dict[str, Any]) -> "Backend":
    """Take the backend's options out of `options`, and make it, or the two that share a model."""
    name, n_gpu = options.pop("backend"), options.pop("gpu_layers")
    modes = [options.pop(key) for key in ("dtype", "act", "cache_type", "threads")]
    if n_gpu is None:
        return one_backend(name, *modes)
    rest = one_backend("numba", *modes)
    if n_gpu == 0:
        return rest
    from refimpl.offload import Offload

    return Offload(rest, one_backend("cupy" if name == "auto" else name, *modes), n_gpu)


def one_backend(name: str, dtype: str, act: Any, cache: str, threads: int | None) -> "Backend":
    """The backend of that name, in those modes."""
    from refimpl.backend import ReferenceBackend, make_backend
    from refimpl.ops.numerics import FORMATS
    from refimpl.ops.reference import Reference

    if name in ("auto", "numpy"):
        return ReferenceBackend(Reference(to=FORMATS[dtype], act=act, cache=cache))
    if dtype != "float32":
        raise InputError(f"--dtype {dtype} is the reference's: use --backend numpy")
    if ":" in name:
        return make_backend(name)
    known = factories()
    if name not in known:
        raise InputError(
            f"no backend {name!r}: choose {', '.join(['numpy', *known])} or MODULE:FACTORY"
        )
    return make_backend(known[name], act=act, cache=cache, threads=threads)


def decode(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text (byte {error.start})") from None


def echo_json(value: Any) -> None:
    """One JSON document on a line of its own."""
    sys.stdout.write(json.dumps(value) + "\n")
