"""Running a template that a stranger wrote: what it may touch, and how much it may do.

A chat template is a program that came with the model.  Jinja's sandbox decides what it may touch
(no attribute that begins with an underscore, no changing of lists and dicts), but not how much it
may do: four lines of Jinja loop for ever or build a string of a terabyte.  So each rendering has a
`Budget`.

Jinja lets a subclass see every call and four operators; filters are functions and can be wrapped.
Loops, comparisons, slices, list and dict displays and `~` have no hook, so `Metered` rewrites them
into filters before the template is compiled.

>>> sandbox = Sandbox(Budget(1000))
>>> tree = Metered().visit(sandbox.parse("{% for i in range(n) %}{{ i ~ ' ' }}{% endfor %}"))
>>> template = sandbox.from_string(tree)
>>> template.render(n=3)
'0 1 2 '
>>> template.render(n=1000)
Traceback (most recent call last):
...
refimpl.text.budget.OverBudgetError: it does too much: an endless loop, or an enormous text
"""

from collections.abc import Callable, Iterable, Sized
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from refimpl.text.budget import CHARACTERS_PER_UNIT, Budget, OverBudgetError

UNITS_PER_CALL = 20
GROWING_FILTERS = frozenset(
    ("batch", "center", "indent", "join", "map", "replace", "round", "slice", "tojson", "wordwrap")
)
GROWING_METHODS = frozenset(
    ("center", "expandtabs", "join", "ljust", "replace", "rjust", "translate", "zfill")
)
COMPARING_TESTS = (
    *("in", "eq", "equalto", "==", "ne", "!=", "lt", "lessthan", "<", "le", "<=", "gt"),
    *("greaterthan", ">", "ge", ">="),
)


class Sandbox(ImmutableSandboxedEnvironment):
    """A Jinja environment for one rendering, with that rendering's budget."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(
        self, budget: Budget, filters: dict[str, Callable[..., Any]] | None = None, **options: Any
    ) -> None:
        # No optimiser: it would compute constant expressions while compiling, unpaid.
        super().__init__(optimized=False, finalize=_printed, **options)
        self.budget = budget
        del self.filters["random"], self.globals["lipsum"]  # a rendering must be repeatable
        own = {"_loop": budget.loop, "_pay": lambda value: value, "_concat": _concatenated}
        everything = {**self.filters, **own, **(filters or {})}
        self.filters = {name: self.paying(name, f) for name, f in everything.items()}
        tests: dict[str, Any] = {**self.tests}
        self.tests |= {name: self.comparing(tests[name]) for name in COMPARING_TESTS}

    def paying(self, name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
        """The filter, paying for its result, and beforehand if it may be larger than its input."""
        passed = getattr(filter_, "jinja_pass_arg", None)

        def paid(*args: Any, **kwargs: Any) -> Any:
            subject, *rest = [*args[passed is not None :], *kwargs.values()]
            length = _length(subject)
            self.budget.spend(1 + length // CHARACTERS_PER_UNIT)
            if name in GROWING_FILTERS:
                self.budget.pay_for_product(length, *rest)
            elif name == "format":
                self.budget.pay_for_format(str(subject), rest)
            _refuse_namespaces([subject, *_members(subject)])
            return self.made(filter_(*args, **kwargs))

        if passed is not None:
            vars(paid)["jinja_pass_arg"] = passed
        return paid

    def comparing(self, test: Callable[..., Any]) -> Callable[..., Any]:
        """The test, paying for the values it may have to read to the end."""

        def paid(*args: Any) -> Any:
            self.budget.pay_for(args)
            return test(*args)

        return paid

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Every call in a template comes through here: macros, methods, `range`, `loop(...)`."""
        budget, values = __self.budget, [*args, *kwargs.values()]
        owner = getattr(__obj, "__self__", None)
        read = sum(map(_length, [owner, *values]))
        budget.spend(UNITS_PER_CALL + read // CHARACTERS_PER_UNIT)
        if isinstance(owner, str) and getattr(__obj, "__name__", "") in GROWING_METHODS:
            budget.pay_for_product(owner, *values)
        if isinstance(__obj, LoopContext):
            budget.spend(sum(map(_length, values)))
        return __self.made(super().call(__context, __obj, *args, **kwargs))

    def made(self, value: Any) -> Any:
        """Pay for a value that came into being."""
        _refuse_namespaces(_members(value))
        return self.budget.pay_for(value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`"...".format` as the sandbox allows it, paid for."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def paid(*args: Any, **kwargs: Any) -> str:
            values = [*args, *kwargs.values()]
            _refuse_namespaces(values)
            self.budget.pay_for_format(value.__self__, values)
            return wrapped(*args, **kwargs)

        return paid

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _refuse_namespaces([left, right])
        self.budget.pay_for_operator(operator, left, right)
        return super().call_binop(context, operator, left, right)


class Metered(NodeTransformer):
    """Rewrites what Jinja gives no hook for: `for x in y` becomes `for x in y | _loop(units)`."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        units = nodes.Const(1 + text // CHARACTERS_PER_UNIT)
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_loop", units)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_concat")

    def visit_List(self, node: nodes.List | nodes.Dict) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_pay")

    visit_Dict = visit_List  # noqa: N815

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """A tuple is also how `for a, b in` and `set a, b =` write their targets."""
        self.generic_visit(node)
        return node if node.ctx == "store" else _filtered(node, "_pay")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        """A slice is a copy."""
        self.generic_visit(node)
        return _filtered(node, "_pay") if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        """To compare two long values, or to look for one in the other, is to read them."""
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_pay")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "_pay")
        return node


class Generation(Extension):
    """`{% generation %}` marks what the model wrote, for training; rendering just renders it."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _filtered(node: Any, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


def _length(value: Any) -> int:
    """How many elements a filter may see: an iterator says nothing, and counts as the longest."""
    if isinstance(value, Sized):
        return len(value)
    return MAX_RANGE if hasattr(value, "__next__") else 0


def _concatenated(values: list[Any]) -> str:
    return "".join(map(str, values))


@pass_context
def _printed(context: Context, value: Any) -> Any:
    """What `{{ value }}` is about to write."""
    _refuse_namespaces([value])
    budget: Budget = vars(context.environment)["budget"]
    return budget.pay_for(value)


def _refuse_namespaces(values: Iterable[Any]) -> None:
    """A namespace can grow after it was paid for, so it may not be written out or put in a list."""
    if any(isinstance(value, Namespace) for value in values):
        raise OverBudgetError("it uses a namespace as a value")


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
