"""Hostile templates: an error, soon, and little memory; and the ordinary ones stay allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refimpl.text import ChatTemplate, ChatTemplateError
from refimpl.text.budget import Budget, OverBudgetError

HI = [{"role": "user", "content": "hi"}]


def doubling(step: str, last: str = "{{ ns.s }}") -> str:
    """Thirty bytes that become 2**100."""
    start = "{% set ns = namespace(s='a') %}{% for i in range(100) %}"
    return f"{start}{{% set ns.s = {step} %}}{{% endfor %}}{last}"


OVER_BUDGET = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set b = 'x' * 999999 %}{% for i in range(99999) %}{{ 'xxy' in b }}{% endfor %}",
    "{% set b = 'x' * 999999 %}{% for i in range(99999) %}{{ b.find('y') }}{% endfor %}",
    "{% set b = 'x' * 999999 %}{% for i in range(99999) %}{{ b is eq(b ~ '') }}{% endfor %}",
    "{% set b = 'x' * 999999 %}{% for i in range(99999) %}{% set c = b[1:] %}{% endfor %}",
    doubling("ns.s + ns.s"),
    doubling("ns.s ~ ns.s"),
    doubling("ns.s * 2"),
    doubling("'%s%s' % (ns.s, ns.s)"),
    doubling("'{}{}'.format(ns.s, ns.s)"),
    doubling("'%s%s' | format(ns.s, ns.s)"),
    doubling("[ns.s, ns.s] | join"),
    doubling("ns.s.replace('a', 'aa')"),
    doubling("ns.s | replace('a', 'aa')"),
    doubling("[ns.s, ns.s]"),
    doubling("(ns.s, ns.s)"),
    doubling("{'a': ns.s, 'b': ns.s}", "{{ ns.s | tojson }}"),
    doubling("dict(a=ns.s, b=ns.s)"),
    doubling("''", "{{ ns }}"),
    doubling("namespace(a=ns.s, b=ns.s)"),
    doubling("namespace(a=ns.s, b=ns.s)", "{{ ns.s ~ '' }}"),
    doubling("[ns]"),
    "{{ 'a' * 10**10 }}",
    "{{ [1] * 10**10 }}",
    "{{ 9**999999 * 0 }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ 'a' | center(10**10) }}",
    "{{ 'a\nb' | indent(10**10) }}",
    "{{ {'a': 1} | tojson(indent=10**10) }}",
    "{{ 15 | round(10**9, 'floor') }}",
    "{{ range(9) | batch(10**10, 'x') | list }}",
    "{{ range(9) | slice(10**10) | list }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ '%*d' % (10**10, 1) }}",
    "{{ '{:>9999999999}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 10**10) }}",
    "{% set b = 'x' * 99999 %}{{ range(99999) | map(attribute='q', default=b) | join }}",
    "{% set b = 'x' * 99999 %}{{ range(99999) | map('default', b, true) | join }}",
    "{{ ('x' * 999).translate({120: 'y' * 99999}) }}",
]

REFUSED = [
    "{% for i in range(10**9) %}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for x in [[1]] recursive %}{{ loop([[1], [1]]) }}{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ messages.append(1) }}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{{ lipsum(1000) }}",
    "{{ [1, 2] | random }}",
    "{{ nothing.at.all }}",
    "{{ 1 / 0 }}",
    "{{ messages[9].role }}",
    "{{ 'a' + 1 }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "not " * 5000 + "1 }}",
    "{{ 1" + " + 1" * 20000 + " }}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
    "{% if",
    "{{ 'a",
    "x" * 2_000_000,
]


@pytest.mark.parametrize("source", OVER_BUDGET)
def test_a_template_that_does_too_much_is_stopped(source):
    with pytest.raises(ChatTemplateError, match="OverBudgetError"):
        ChatTemplate(source).render(HI)


@pytest.mark.parametrize("source", REFUSED, ids=lambda source: source[:40])
def test_a_template_that_breaks_out_or_breaks_down_is_a_named_error(source):
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source).render(HI)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "hi"),
        ("{{ messages | map(attribute='role') | join(', ') }}", "user"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{% for m in messages %}{{ loop.index }}{{ loop.last }}{% endfor %}", "1True"),
        ("{% set a, b = 1, 2 %}{% for k, v in {'x': b}.items() %}{{ k }}{{ v }}{% endfor %}", "x2"),
        ("{{ messages[::-1][0].content[:1] ~ '%03d' % 7 ~ '{:>3}'.format(8) }}", "h007  8"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ tools is none }}{{ nothing is defined }}{{ nothing | default('d') }}", "TrueFalsed"),
        (
            "{% set ns = namespace(n=1700000000) %}{{ ns.n | string }}{{ ns.n == 1 }}",
            "1700000000False",
        ),
        ("{%- if true %}\n  x\n{% endif %}\ny", "  x\ny"),
    ],
)
def test_what_templates_use_still_works(source, text):
    assert ChatTemplate(source).render(HI) == text


def test_the_budget_grows_with_what_is_to_be_rendered():
    long = [{"role": "user", "content": "x" * 3_000_000} for _ in range(3)]
    source = "{% for m in messages %}{{ m.content | trim + '\n' }}{% endfor %}"
    assert len(ChatTemplate(source).render(long)) == 9_000_003


def test_a_conversation_that_contains_itself():
    message: dict[str, object] = {"role": "user"}
    message["content"] = message
    with pytest.raises(ChatTemplateError):
        ChatTemplate("{{ messages | tojson }}").render([message])


VALUES = st.recursive(
    st.one_of(st.text(), st.integers(), st.none(), st.floats()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
)


@given(VALUES)
def test_a_value_weighs_at_least_what_it_takes_to_write_it(value):
    budget = Budget(10**9)
    assert budget.weight(value) * 400 >= len(str(value))
    with pytest.raises(OverBudgetError):
        Budget(budget.weight(value) - 1).pay_for(value)
