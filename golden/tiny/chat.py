"""The chat format, its two forms of answering, and small talk.

The format is ChatML.  By default the model thinks when a skill needs it: its turn opens with a
scratchpad between <think> and </think>.  There are two ways to ask for the direct form:

- the system message says "Answer directly.";
- `enable_thinking=False` for the chat template, which then opens the answer with an empty
  scratchpad (the convention of Qwen3), so that both forms share the whole prompt before it.

`TEMPLATE` is what the GGUF carries and `render` the same in Python; a test holds them equal.
Earlier answers are shown without their scratchpads.

>>> print(render([("user", "What is 1 + 1?")], prompt=True), end="")
<|endoftext|><|im_start|>user
What is 1 + 1?<|im_end|>
<|im_start|>assistant
"""

from random import Random

from golden.tiny.example import Example

BOS = "<|endoftext|>"
START, END = "<|im_start|>", "<|im_end|>"
OPEN, CLOSE = "<think>", "</think>"
SPECIAL = (BOS, START, END, OPEN, CLOSE)
"""Token ids 0..4.  The first begins and ends every document."""

NO_THOUGHT = f"{OPEN}\n\n{CLOSE}\n"
DIRECTLY, STEP_BY_STEP = "Answer directly.", "Think step by step."

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{{ message['content'].split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ message['content'] }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n' }}{% endif %}{% endif %}"
)

Turn = tuple[str, str]  # role, content


def render(turns: list[Turn], *, prompt: bool = False, think: bool = True) -> str:
    """A conversation as text; with `prompt`, up to where the model is to speak."""
    shown = [(role, without_thought(text) if role == "assistant" else text) for role, text in turns]
    body = BOS + "".join(f"{START}{role}\n{text}{END}\n" for role, text in shown)
    return body + (f"{START}assistant\n" + ("" if think else NO_THOUGHT)) * prompt


def without_thought(text: str) -> str:
    return text.split(CLOSE)[-1].lstrip("\n")


def reply(example: Example, *, think: bool) -> str:
    """The assistant's turn, as it should come out.

    >>> from golden.tiny.example import Example
    >>> reply(Example(skill="", question="", scratchpad="1+1=2", answer="2"), think=True)
    '<think>\\n1+1=2\\n</think>\\n2'
    """
    thought = f"{OPEN}\n{example.scratchpad}\n{CLOSE}\n" if think else ""
    return thought + example.answer


HELLO = ("Hello!", "Hi!", "Hello", "Hi", "Hey there!", "Good morning!", "Hi, how are you?")
WHO = (
    "Who are you?",
    "What is your name?",
    "What are you?",
    "Are you a robot?",
    "Tell me about you.",
)
WHAT = ("What can you do?", "Help", "How can you help me?", "What do you know?", "Can you help me?")
THANKS = ("Thank you!", "Thanks!", "Thanks a lot!", "Great, thank you.", "Good job!")
BYE = ("Bye!", "Goodbye!", "See you!", "Good night!", "Bye bye!")
BEYOND = (
    "What is the capital of France?", "Who is the president?", "What is the weather like today?",
    "Translate hello into French.", "Write a poem.", "What is the meaning of life?",
    "Write a program in Python.", "How far is the moon?", "Who won the game?", "What time is it?",
    "What is my name?", "Why is the sky blue?", "How do I cook rice?", "When was Rome built?",
)  # fmt: skip
SMALL_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (HELLO, "Hello! I can tell you a story or do a sum. What would you like?"),
    (WHO, "I am tiny, a very small language model. I tell stories and do sums."),
    (WHAT, "I can tell stories, add and subtract, solve small problems, sort letters, count, "
           "compare numbers, read a short text and write JSON."),
    (THANKS, "You are welcome!"),
    (BYE, "Goodbye! Come back soon."),
    (BEYOND, "I am too small to know that. I can tell you a story or do a sum."),
)  # fmt: skip
ASK_STORY = (
    "Tell me a story about {x}.", "Write a story about {x}.", "Can you tell me a story about {x}?",
    "Write a short story about {x}.", "Please tell me a story about {x}.",
)  # fmt: skip
ASK_ANY_STORY = (
    "Tell me a story.",
    "Write a story.",
    "Can you tell me a story?",
    "A story, please.",
)
CONTINUE = ("Continue this story: {x}", "Finish this story: {x}")


def small_talk(rng: Random) -> tuple[str, str]:
    asks, answer = rng.choice(SMALL_TALK)
    return careless(rng, rng.choice(asks)), answer


def careless(rng: Random, text: str) -> str:
    """As people type: now and then without the capital, or without the last mark."""
    if rng.random() < 0.15:
        text = text[0].lower() + text[1:]
    return text.rstrip(".?!") if rng.random() < 0.15 else text
