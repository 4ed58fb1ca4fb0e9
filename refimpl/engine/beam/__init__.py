"""Beam search: keep the few most probable continuations, and let them share their memory.

Read `scores` (which beams survive, as transformers and as vLLM say it; no model in sight), then
`search` (the same on the engine's block tables, where a beam that splits is a fork).
"""

from refimpl.engine.beam.scores import BeamParams, Hypothesis
from refimpl.engine.beam.search import BeamResult, Sharing, beam_search, search

__all__ = ["BeamParams", "BeamResult", "Hypothesis", "Sharing", "beam_search", "search"]
