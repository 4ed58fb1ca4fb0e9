"""Continuous batching: many requests, one ragged batch a step, and no phases.

Read in this order: `request` (what is being served), `policies` (who goes first), `modes` with
`admission` and `victims` (who may start and who gives way, in vLLM and in SGLang), `scheduler` (a
step's budget dealt out), `batch` (the step as arrays), `core` (the loop), `overlap` (the loop that
does not wait), `llm` (the front door).
"""
