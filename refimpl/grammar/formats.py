"""Formats as regular languages.

Sources: JSON Schema Validation section 7.3 and the RFCs it names.  A date knows the length of its
month and leap years; a leap second only stands at 23:59:60 in UTC.  An unknown format is an
annotation and restricts nothing.

>>> r = Regexes()
>>> date = format_language(r, "date")
>>> [r.matches(date, d) for d in ("2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29")]
[True, False, False, True]
"""

from refimpl.grammar.regex import Node, Regexes
from refimpl.grammar.regex_language import search

_OCTET = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_OCTET}(\.{_OCTET}){{3}}"
_H = r"[0-9a-fA-F]{1,4}"


def _ipv6() -> str:
    """RFC 4291, section 2.2: eight groups, one run of zeros as `::`, perhaps an IPv4 tail."""
    tail = rf"({_H}:{_H}|{_IPV4})"
    forms = [rf"({_H}:){{6}}{tail}"]
    for right in range(5, -1, -1):
        left = 5 - right
        before = rf"(({_H}:){{0,{left}}}{_H})?"
        forms.append(rf"{before}::({_H}:){{{right}}}{tail}")
    forms += [rf"(({_H}:){{0,5}}{_H})?::{_H}", rf"(({_H}:){{0,6}}{_H})?::"]
    return "|".join(forms)


_DAY = (
    r"((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)"
    r"|02-(0[1-9]|1\d|2[0-8]))"
)
_LEAP_YEAR = r"(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
# datetime, which the `jsonschema` package asks, has no year 0.
_DATE = rf"(?!0000)(\d{{4}}-{_DAY}|{_LEAP_YEAR}-02-29)"
_OFFSET = r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_TIME = rf"(([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?{_OFFSET}|23:59:60(\.\d+)?([Zz]|[+-]00:00))"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = rf"(?![\s\S]{{254}})(?!(.*\.)?..--){_LABEL}(\.{_LABEL})*"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PCT = r"%[0-9A-Fa-f]{2}"
_UNRESERVED = r"[A-Za-z0-9._~!$&'()*+,;=-]"
_PCHAR = rf"({_UNRESERVED}|[:@]|{_PCT})"
_IP_LITERAL = rf"\[(({_ipv6()})|[vV][0-9A-Fa-f]+\.({_UNRESERVED}|:)+)\]"
_AUTHORITY = rf"(({_UNRESERVED}|:|{_PCT})*@)?({_IP_LITERAL}|({_UNRESERVED}|{_PCT})*)(:\d{{0,4}})?"
_QUERY = rf"(\?({_PCHAR}|[/?])*)?(#({_PCHAR}|[/?])*)?"
_PATH = rf"(//{_AUTHORITY}(/{_PCHAR}*)*|/({_PCHAR}+(/{_PCHAR}*)*)?|{_PCHAR}+(/{_PCHAR}*)*|)"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]*:{_PATH}{_QUERY}"
_SEGMENT_NO_COLON = rf"({_UNRESERVED}|@|{_PCT})+"
_RELATIVE = (
    rf"(//{_AUTHORITY}(/{_PCHAR}*)*|/({_PCHAR}+(/{_PCHAR}*)*)?"
    rf"|{_SEGMENT_NO_COLON}(/{_PCHAR}*)*|){_QUERY}"
)
_POINTER = r"(/([^/~]|~[01])*)*"
_DURATION_DATE = r"(\d+Y(\d+M(\d+D)?)?|\d+M(\d+D)?|\d+D)"
_DURATION_TIME = r"T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S)"

_PATTERNS: dict[str, str] = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}[Tt]{_TIME}",
    "duration": rf"P(\d+W|{_DURATION_DATE}({_DURATION_TIME})?|{_DURATION_TIME})",
    "email": rf"(?=[^@]{{1,64}}@){_ATOM}(\.{_ATOM})*@{_HOSTNAME}",  # RFC 5321, section 4.5.3.1
    "hostname": _HOSTNAME,
    "ipv4": _IPV4,
    "ipv6": _ipv6(),
    "uri": _URI,
    "uri-reference": rf"({_URI}|{_RELATIVE})",
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(0|[1-9]\d*)(#|{_POINTER})",
    # Any regular expression would do; these are ones that every dialect reads.
    "regex": r"([A-Za-z0-9 _:;,@=<>~%&'\"!/-]|\\[dDwWsS.]|\.|\[[A-Za-z0-9]+\]"
    r"|\(\?:[A-Za-z0-9]+\))*",
}
_PATTERNS["idn-email"] = _PATTERNS["email"]
_PATTERNS["idn-hostname"] = _PATTERNS["hostname"]
_PATTERNS["iri"] = _PATTERNS["uri"]
_PATTERNS["iri-reference"] = _PATTERNS["uri-reference"]
_PATTERNS["uri-template"] = rf"({_UNRESERVED}|[:/?#@]|{_PCT}|\{{[A-Za-z0-9_]+\}})*"

# Formats of which the language above is only a part, and a pattern that holds all of the format.
# The part is right to generate from; "not this format" is the complement of the whole.
_OUTER = {
    "email": "@",
    "idn-email": "@",
    "hostname": r"^[^\s@/]*$",
    "idn-hostname": "",
    "uri": "^[A-Za-z][A-Za-z0-9+.-]*:",
    "iri": "^[A-Za-z][A-Za-z0-9+.-]*:",
    "uri-reference": "",
    "iri-reference": "",
    "uri-template": "",
    "regex": "",
}


def outer_language(regexes: Regexes, name: str) -> Node | None:
    """A language that holds every text of a format; None if `format_language` is exact."""
    return search(regexes, _OUTER[name]) if name in _OUTER else None


def format_language(regexes: Regexes, name: str) -> Node | None:
    """The language of a format, or None if the name is not known."""
    if name not in _PATTERNS:
        return None
    return search(regexes, f"^({_PATTERNS[name]})$")
