"""What `--model` may say: the name of an embedded model, a path, or `hf:ORG/REPO[/FILE]`."""

from importlib.resources import files
from pathlib import Path

from refimpl.errors import InputError, RefimplError

EMBEDDED = ("tiny", "tiny-draft")


class HubError(RefimplError):
    """A model could not be fetched from the Hugging Face hub."""


def find_model(name: str) -> Path:
    """The local path of a model, fetched first if it lives on a hub."""
    if name in EMBEDDED:
        return embedded(name)
    if name.startswith("hf:"):
        return fetch(name.removeprefix("hf:"))
    path = Path(name).expanduser()
    if not path.exists():
        raise InputError(
            f"no model {name!r}: give {' or '.join(EMBEDDED)}, a path, or hf:ORG/REPO[/FILE]"
        )
    return path


def embedded(name: str) -> Path:
    """A model that is part of this package."""
    path = Path(str(files("refimpl") / "data" / f"{name}.gguf"))
    if not path.exists():
        raise InputError(f"this installation carries no model {name!r}: give one with --model")
    return path


def fetch(spec: str) -> Path:
    """`ORG/REPO/FILE` is one file (with its other parts, if it is split); `ORG/REPO` a folder.

    The hub's own client resumes, caches, shows its progress, and reads HF_TOKEN and HF_ENDPOINT.
    """
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
    except ImportError:
        raise HubError(
            "hf: needs the hub's client: pip install 'refimpl[hub]', or download the model "
            "yourself and give its path"
        ) from None
    parts = spec.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise InputError(f"hf:{spec} does not name a model: write hf:ORG/REPO or hf:ORG/REPO/FILE")
    repo, file = "/".join(parts[:2]), parts[2] if len(parts) == 3 else None
    try:
        if file is None:
            return Path(snapshot_download(repo, allow_patterns=["*.json", "*.safetensors"]))
        paths = [Path(hf_hub_download(repo, part)) for part in split_parts(file)]
        return paths[0]
    except KeyboardInterrupt:
        raise
    except (
        Exception
    ) as error:  # the client raises a family of its own, and requests', and OS errors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise HubError(f"could not fetch {spec} from the hub: {reason[0]}") from None


def split_parts(file: str) -> list[str]:
    """All the parts of a split GGUF, given its first.

    >>> split_parts("q8/m-00001-of-00002.gguf")
    ['q8/m-00001-of-00002.gguf', 'q8/m-00002-of-00002.gguf']
    >>> split_parts("m.gguf")
    ['m.gguf']
    """
    import re

    match = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", file)
    if match is None:
        return [file]
    stem, total = match.group(1), match.group(2)
    return [f"{stem}-{i:05}-of-{total}.gguf" for i in range(1, int(total) + 1)]
