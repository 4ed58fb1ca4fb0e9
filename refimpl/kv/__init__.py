"""Where keys and values live, and how they are found again.

Read in this order: `blocks` (pool, tables, copy on write), `prefix` (vLLM's cache of hashed
blocks), `radix` and `eviction` (SGLang's tree), `lease` (what a scheduler asks of any of them),
`hashed` and `tree` (the two caches as leases), `plan` (a step as arrays), `paged` (attention over
blocks).
"""
