"""What ran where: `golden/devices/<gpu>.json`, and which kernels have changed since.

A device is not at hand in CI.  So a run on one (`bench/gpu.py`) writes down the hash of every
kernel's text, what conformance found and what was measured; and a test asks that each kernel of the
tree is one that some device has run.

>>> from backends.cupy.compile import names
>>> sorted(hashes()) == names()
True
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.cupy.compile import names, source

SCHEMA = "refimpl/device/1"
DEVICES = Path(__file__).parents[2] / "golden" / "devices"


def hashes() -> dict[str, str]:
    """SHA-256 of every kernel's text, headers included."""
    return {name: hashlib.sha256(source(name).encode()).hexdigest() for name in names()}


def records(folder: Path = DEVICES) -> list[Mapping[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def unrecorded(folder: Path = DEVICES) -> list[str]:
    """Kernels that differ from what every device has run."""
    ran = {(k, h) for record in records(folder) for k, h in record["kernels"].items()}
    return [kernel for kernel, text_hash in hashes().items() if (kernel, text_hash) not in ran]
