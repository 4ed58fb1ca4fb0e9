"""Speculative decoding: guess what comes next, compute all guesses at once, keep what was right.

A step that decodes reads every weight for one token; for five it reads them once as well.  So
whoever can guess cheaply what the model will say gets several tokens from one step, and none of the
guesses can change the text (laws 12 and 13).

Read in this order: `refimpl.sampling.verify` (what a draft is, and how it is judged), `proposer`
(who makes drafts), `ngram` and `suffix` (from the text itself), `draft_model` (from a smaller
model), `length` (how far to guess), `speculator` (drafts into a step), `verdict` (what became of
them), `engine` (the loop, with one more line), `statistics`.
"""
