"""OpenAI's protocol, as far as programs need it: bodies out, replies in.

Text outside a chat goes to `/completions`, a chat to `/chat/completions`.  An answer comes whole or
as server-sent events; both are pieces to gather, a whole one being a single piece.

Options are scored by `echo`: the server repeats the prompt with the log-probability of each of its
tokens, and those that reach beyond the text are the option's.

Source: OpenAI, API reference, "Completions" and "Chat completions".

>>> gathered = Gathered()
>>> gathered.add({"choices": [{"text": "Hel", "logprobs": None, "finish_reason": None}]})
'Hel'
>>> gathered.add({"choices": [{"text": "lo", "finish_reason": "stop"}],
...               "usage": {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}})
'lo'
>>> gathered.reply
Reply(text='Hello', tokens=(), finish='stop', n_prompt=7, n_cached=4, ids=None)
"""

from collections.abc import Mapping
from typing import Any

from refimpl.lang.ask import Ask
from refimpl.lang.choices import OptionScore
from refimpl.lang.dialects import Body, Dialect
from refimpl.lang.faults import ServerError
from refimpl.lang.handles import Reply, Token
from refimpl.lang.transcript import Transcript


def body_of(said: Transcript, ask: Ask, dialect: Dialect, template: Mapping[str, Any]) -> Body:
    """What to ask, but for the model's name and whether to stream."""
    body: Body = {
        "max_tokens": ask.max_tokens,
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "seed": (ask.seed ^ ask.draw) & 0x7FFFFFFF,  # branches must not repeat one another
        **({"stop": list(ask.stop)} if ask.stop else {}),
        **dialect.constraint(ask, chat=said.is_chat),
    }
    if not said.is_chat:
        return body | {"prompt": said.text, "logprobs": 1}
    messages, begun = said.spoken, "".join(piece.text for piece in said.begun)
    if begun:
        messages.append({"role": "assistant", "content": begun})
        body |= dialect.continuation()
    if template:
        body["chat_template_kwargs"] = dict(template)
    return body | {"messages": messages, "logprobs": True}


def echo_of(text: str) -> Body:
    """Ask for the log-probabilities of a text; one token more, since some servers insist."""
    return {"prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}


class Gathered:
    """An answer that grows piece by piece."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[Token] = []
        self.finish = ""
        self.usage: Mapping[str, Any] = {}

    def add(self, piece: Mapping[str, Any]) -> str:
        """The text of one more piece."""
        try:
            if isinstance(piece.get("usage"), Mapping):
                self.usage = piece["usage"]
            if not piece["choices"]:  # the last piece of a stream may tell the usage alone
                return ""
            choice = piece["choices"][0]
            said = choice.get("message") or choice.get("delta") or {}
            text = str(choice.get("text") or said.get("content") or "")
            self.tokens += tokens_of(choice.get("logprobs") or {})
            self.finish = choice.get("finish_reason") or self.finish
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ServerError(f"the server's answer is no completion: {error!r}") from error
        self.text += text
        return text

    @property
    def reply(self) -> Reply:
        return Reply(
            text=self.text,
            tokens=tuple(self.tokens),
            finish=self.finish,
            n_prompt=number(self.usage, "prompt_tokens"),
            n_cached=cached_of(self.usage),
        )


def number(record: Any, name: str) -> int:
    """What a server need not tell, and may tell wrongly."""
    value = record.get(name) if isinstance(record, Mapping) else None
    return value if isinstance(value, int) else 0


def cached_of(usage: Any) -> int:
    details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
    return number(details, "cached_tokens")


def tokens_of(logprobs: Mapping[str, Any]) -> list[Token]:
    """Of a chat (`content`, a list of records) or of a plain completion (parallel lists)."""
    if "content" in logprobs:
        return [
            Token(id=one.get("token_id"), text=one["token"], logprob=float(one["logprob"]))
            for one in logprobs["content"] or []
        ]
    texts, numbers = logprobs.get("tokens") or [], logprobs.get("token_logprobs") or []
    return [
        Token(id=None, text=text, logprob=float(number))
        for text, number in zip(texts, numbers, strict=True)
        if number is not None
    ]


def echoed(answer: Mapping[str, Any], start: int, end: int) -> list[tuple[str, float | None]]:
    """The tokens of an echoed prompt that reach into characters start..end-1, and how probable."""
    try:
        told = answer["choices"][0]["logprobs"]
        triples = zip(told["tokens"], told["token_logprobs"], told["text_offset"], strict=True)
        found = [(t, lp) for t, lp, at in triples if start < at + len(t) and at < end]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ServerError(
            "the server does not echo log-probabilities, so options cannot be scored: "
            "use gen(choices=...), or another server"
        ) from error
    if not found:
        raise ServerError("the server echoed no token of the option")
    return found


def option_score(
    tokens: list[tuple[str, float | None]], alone: list[tuple[str, float | None]] | None
) -> OptionScore:
    """`alone`: the same option, echoed by itself."""
    logprobs = [number or 0.0 for _, number in tokens]  # a text's very first token has none
    if alone is None:
        return OptionScore.of(logprobs)
    if len(alone) != len(tokens):
        raise ServerError(
            f"by itself the option has {len(alone)} tokens, after the text {len(tokens)}: "
            "select by another method"
        )
    return OptionScore.of(logprobs, unconditional=[number for _, number in alone])
