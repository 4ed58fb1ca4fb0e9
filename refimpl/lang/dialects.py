"""What servers that speak OpenAI's protocol do not agree on: constraints, and answers begun.

JSON Schemas go the same way everywhere in a chat.  Regular expressions, lists of choices, schemas
for plain completions and an answer to be continued are extensions, and each server has its own.

Sources: the API references of OpenAI ("Structured outputs"), vLLM ("structured_outputs",
"continue_final_message") and SGLang ("regex", "json_schema").

>>> DIALECTS["sglang"].constraint(Ask(choices=("a.b", "c")), chat=True)
{'regex': '(a\\\\.b|c)'}
>>> DIALECTS["openai"].constraint(Ask(regex="a+"), chat=True)
Traceback (most recent call last):
refimpl.errors.UnsupportedError: the dialect 'openai' has no regex: use 'vllm' or 'sglang'
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refimpl.errors import UnsupportedError
from refimpl.lang.ask import Ask

Body = dict[str, Any]


def response_format(schema: Any) -> Body:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "value", "schema": schema, "strict": True},
        }
    }


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one kind of server is told; None: it cannot be."""

    name: str
    regex: Callable[[str], Body] | None = None
    choices: Callable[[tuple[str, ...]], Body] | None = None
    plain_schema: Callable[[Any], Body] | None = None  # outside a chat
    continues: bool = False

    def constraint(self, ask: Ask, *, chat: bool) -> Body:
        if ask.schema is not None:
            how = response_format if chat else self.plain_schema
            return self.needed(how, "schema outside a chat")(ask.schema)
        if ask.regex is not None:
            return self.needed(self.regex, "regex")(ask.regex)
        if ask.choices:
            return self.needed(self.choices, "list of choices")(ask.choices)
        return {}

    def needed(self, how: Callable[[Any], Body] | None, what: str) -> Callable[[Any], Body]:
        if how is None:
            raise UnsupportedError(
                f"the dialect {self.name!r} has no {what}: use 'vllm' or 'sglang'"
            )
        return how

    def continuation(self) -> Body:
        """The last message is the beginning of the answer."""
        if not self.continues:
            raise UnsupportedError(
                f"the dialect {self.name!r} cannot go on with an answer that was begun: "
                "use 'vllm' or 'sglang'"
            )
        return {"continue_final_message": True, "add_generation_prompt": False}


DIALECTS = {
    "openai": Dialect(name="openai"),
    "vllm": Dialect(
        name="vllm",
        regex=lambda pattern: {"structured_outputs": {"regex": pattern}},
        choices=lambda options: {"structured_outputs": {"choice": list(options)}},
        plain_schema=lambda schema: {"structured_outputs": {"json": schema}},
        continues=True,
    ),
    "sglang": Dialect(
        name="sglang",
        regex=lambda pattern: {"regex": pattern},
        choices=lambda options: {"regex": f"({'|'.join(map(re.escape, options))})"},
        plain_schema=lambda schema: {"json_schema": json.dumps(schema)},
        continues=True,
    ),
}
