"""The record of a run on a GPU: what is said as it goes, and what is written at the end."""

import json
import platform
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import cupy

from backends.cupy.nvrtc import version as nvrtc_version
from backends.cupy.record import SCHEMA, hashes


def machine() -> dict[str, Any]:
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    packages = {}
    for name in ("cupy-cuda13x", "cupy-cuda12x", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "gpu": properties["name"].decode(),
        "multiprocessors": properties["multiProcessorCount"],
        "CUDA driver API": cupy.cuda.runtime.driverGetVersion(),
        "CUDA runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "nvrtc": nvrtc_version(),
        "python": platform.python_version(),
        **packages,
    }


def say(what: str, found: Any) -> None:
    if isinstance(found, dict):
        found = ", ".join(
            f"{v:.4g} {k}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()
        )
    click.echo(f"{what}: {found}")
    sys.stdout.flush()


def write(record: Path, found: dict[str, Any]) -> None:
    head = {"schema": SCHEMA, "date": date.today().isoformat(), **machine(), "kernels": hashes()}
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({**head, **rounded(found)}, indent=1) + "\n")


def rounded(x: Any) -> Any:
    """Four digits of a measurement are more than it has."""
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    if isinstance(x, list):
        return [rounded(value) for value in x]
    return float(f"{x:.4g}") if isinstance(x, float) else x
