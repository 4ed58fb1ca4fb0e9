"""Hit rates by counting: what a cache that forgets nothing must find, one request at a time.

The shapes are those of the SGLang paper (section 6.1).  A turn of a chat sends all turns before it
again, with their answers; a question comes behind examples that all questions share.

>>> f"{chat(4, 384, 6):.4f} {chat(4, 384, 384):.4f}"    # answers of 4-8 and of 256-512 tokens
'0.6037 0.7500'
>>> f"{few_shot(600, 100, 1000):.3f}"                   # five examples, a thousand questions
'0.856'
>>> f"{few_shot(1800, 20, 200):.3f}"                    # twenty examples, to select an ending
'0.984'

A served chat finds a little less: the last token of an answer has been drawn and never computed, so
its keys and values are in no cache.

>>> f"{chat(4, 384, 6, n_last=1):.4f}"
'0.6029'
"""


def chat(n_turns: int, n_input: int, n_output: int, *, n_last: int = 0) -> float:
    """Every turn but the first finds all before it, less the last `n_last` tokens."""
    found = sum(t * (n_input + n_output) - n_last for t in range(1, n_turns))
    sent = sum(t * (n_input + n_output) + n_input for t in range(n_turns))
    return found / sent


def few_shot(n_examples: int, n_question: int, n_questions: int) -> float:
    """Every question but the first finds the examples."""
    return n_examples * (n_questions - 1) / ((n_examples + n_question) * n_questions)
