"""Constrained decoding: exactly which tokens may come next, by regex, grammar or JSON Schema.

Reading path: `charset`, `regex`, `regex_live`, `regex_dialects`, `regex_syntax`, `regex_language`,
`fsm` (chapter one: automata); `drawing` (a picture of one); `machine`, `trie`, `masks`,
`regex_grammar` (from automata to token masks); `cfg`, `gbnf`, `ebnf`, `lark`, `xml` (recursion);
and JSON: `doubles`, `number_sets`, `number_texts`, `number_intervals`, `number_settle`, `literal`,
`keys`, `constants`, `shapes`, `algebra`, `resources`, `assertions`, `schema`, `members`,
`distinct`, `apart`, `fit` (what a schema means, what can be completed), `json_states`,
`string_rows`, `string_steps`, `object_steps`, `json_grammar` (reading a document). Then its use:
`constraint`, `yields`, `number_rest`, `json_ways`, `closing`, `in_time` (the shortest ends, and
ending in time), `forced` (jump-forward), `guide` (what a request carries).
"""
