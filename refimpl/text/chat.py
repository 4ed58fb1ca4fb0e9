"""From a conversation to the one string that a model continues.

A model was trained on conversations written in one particular way, with its own markers around each
turn.  The file that carries the model carries that way as a Jinja template, and whoever gets a
space of it wrong gets a slightly worse model and no error.  So the template is run as Hugging Face
runs it: same options, same filters and functions, same variables.  Two things differ on purpose: it
runs in a budget (`refimpl.text.sandbox`), and today's date is given by the caller or is not there
at all.

Source: `render_jinja_template` and `_compile_jinja_template` in transformers' chat_template_utils.

>>> template = ChatTemplate("{{ bos_token }}{% for m in messages %}{{ m.role ~ ': ' ~ m.content }}"
...                         "{% endfor %}", bos_token="<s>")
>>> template.render([{"role": "user", "content": "Hi"}])
'<s>user: Hi'
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import CodeType
from typing import TYPE_CHECKING, Any, NoReturn

from refimpl.text.budget import Budget, OverBudgetError
from refimpl.text.errors import ChatTemplateError

if TYPE_CHECKING:
    from refimpl.text.sandbox import Sandbox

Message = Mapping[str, object]
Clock = Callable[[], datetime]

LONGEST_SOURCE = 1 << 20
UNITS = 300_000
LARGEST_INPUT = 1 << 20
UNITS_PER_UNIT_OF_INPUT = 64
"""A rendering may do this much, and so much more for what it is given to render."""


class ChatTemplate:
    """A template, compiled once.  `clock` is what `strftime_now` reads; without one the template
    sees no such function, and those that can fall back on a fixed date do."""

    def __init__(
        self,
        source: str,
        bos_token: str = "",
        eos_token: str = "",
        *,
        clock: Clock | None = None,
    ) -> None:
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self.clock = clock

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        **variables: object,
    ) -> str:
        """The conversation as text.  `variables` are what else the template asks for, such as
        `tools` or `enable_thinking`."""
        given = {
            "messages": list(messages),
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            **variables,
        }
        sandbox = self.sandbox(budget_for(given))
        try:
            template = sandbox.template_class.from_code(sandbox, self.code, sandbox.globals)
            return "".join(template.generate(given))
        except ChatTemplateError:
            raise
        except Exception as error:  # whatever a stranger's program may raise
            raise ChatTemplateError(f"the chat template failed: {explained(error)}") from error

    def at(self, clock: Clock) -> "ChatTemplate":
        """The same template, with a clock."""
        timed = ChatTemplate(self.source, self.bos_token, self.eos_token, clock=clock)
        timed.code = self.code
        return timed

    @cached_property
    def code(self) -> CodeType:
        """The compiled template."""
        from refimpl.text.sandbox import Metered

        if len(self.source) > LONGEST_SOURCE:
            raise ChatTemplateError(
                f"a chat template of {len(self.source)} characters; the most is {LONGEST_SOURCE}"
            )
        sandbox = self.sandbox(Budget(UNITS))
        try:
            tree = Metered().visit(sandbox.parse(self.source))
            return sandbox.compile(tree, filename="<chat template>")
        except Exception as error:
            raise ChatTemplateError(
                f"the chat template is not valid Jinja: {explained(error)}"
            ) from error

    def sandbox(self, budget: Budget) -> "Sandbox":
        """The environment a template may expect, which is transformers'."""
        from jinja2.ext import loopcontrols

        from refimpl.text.sandbox import Generation, Sandbox

        sandbox = Sandbox(
            budget,
            filters={"tojson": tojson},
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, Generation],
        )
        sandbox.globals["raise_exception"] = refuse
        if (clock := self.clock) is not None:
            sandbox.globals["strftime_now"] = lambda format: clock().strftime(format)
        return sandbox


def budget_for(given: Mapping[str, object]) -> Budget:
    """Enough for any honest template, at the size of what it has to render."""
    counting = Budget(LARGEST_INPUT)
    try:
        counting.pay_for(dict(given))
    except OverBudgetError:
        raise ChatTemplateError(
            "the conversation is too large, or contains itself: a message may hold texts, numbers, "
            "lists and dicts, some 16 megabytes in all"
        ) from None
    return Budget(UNITS + UNITS_PER_UNIT_OF_INPUT * (LARGEST_INPUT - counting.left))


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as is: Jinja's own filter of that name also escapes it for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def refuse(message: str) -> NoReturn:
    """`raise_exception` of a template: these messages are not ones it can render."""
    raise ChatTemplateError(f"the chat template refuses these messages: {message}")


def explained(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
