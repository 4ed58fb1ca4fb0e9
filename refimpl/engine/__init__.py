"""Continuous batching: many requests, one ragged batch a step, and no phases.

Read in this order: `request` (what is being served), `policies` (who goes first), `victims` (who
gives way), `admission` (who may start), `scheduler` (a step's budget dealt out), `plan` (the step
as arrays), `core` (the loop), `overlap` (the loop that does not wait), `llm` (the front door).
"""
