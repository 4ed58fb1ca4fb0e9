"""Constrained decoding: exactly which tokens may come next, by regex, grammar or JSON Schema.

Reading path: `charset`, `regex`, `regex_syntax`, `regex_language`, `fsm` (chapter one: automata);
`machine`, `trie`, `masks`, `regex_grammar` (from automata to token masks); `cfg`, `gbnf`
(recursion); and JSON: `number_sets`, `literal`, `keys`, `shapes`, `algebra`, `resources`,
`assertions`, `schema`, `members`, `distinct`, `fit` (what a schema means, what can be completed),
`json_states`, `string_rows`, `string_steps`, `json_grammar` (reading a document), `constraint`
(what a request carries).
"""
