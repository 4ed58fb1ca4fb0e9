"""How long launches take: captured as one graph, replayed between events, the median of five."""

from collections.abc import Callable, Sequence
from typing import Any

import cupy
import numpy as np


def time_of(launches: Sequence[Callable[[], object]], replays: int = 5) -> float:
    """Microseconds a launch."""
    for launch in launches[:2]:  # compiles
        launch()
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream()
    with stream:
        stream.begin_capture()
        for launch in launches:
            launch()
        graph = stream.end_capture()
    return replay_time(graph, stream, replays) * 1e3 / len(launches)


def replay_time(graph: Any, stream: cupy.cuda.Stream, replays: int = 5, inner: int = 1) -> float:
    """Milliseconds a replay."""
    graph.launch(stream)
    stream.synchronize()
    times = []
    for _ in range(replays):
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(stream)
        for _ in range(inner):
            graph.launch(stream)
        stop.record(stream)
        stop.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, stop) / inner)
    return float(np.median(times))


def eager_time_of(launch: Callable[[], object], n: int = 10) -> float:
    """Microseconds a launch, without a graph (CuPy does not let cuBLAS be captured)."""
    launch()
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(n):
        launch()
    stop.record()
    stop.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, stop)) * 1e3 / n
