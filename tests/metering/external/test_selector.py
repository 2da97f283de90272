"""The grammar of Kubernetes' label selectors, odd ends included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove_dp.metering.external.selector import BadSelector, is_label_value, parse

LABELS = {
    "pcs": "chat",
    "component": "prefill",
    "empty": "",
    "rank": "8",
    "grove.io/role": "p",
    "in": "notin",
}

TAKES = [
    "",
    " ",
    "pcs",
    "pcs=chat",
    "pcs==chat",
    " pcs = chat , component = prefill ",
    "!absent",
    "! absent",
    "absent!=x",
    "pcs!=other",
    "pcs in (chat)",
    "pcs in (a,chat)",
    "pcs in(chat,b)",
    "pcs notin (a,b)",
    "absent notin (a)",
    "empty=",
    "empty= ,pcs=chat",
    "empty in ()",
    "empty in (,a)",
    "empty in (a,)",
    "empty in (a,,b)",
    "rank>7",
    "rank<9,rank>0",
    "rank > 7",
    "grove.io/role=p",
    "in in (notin)",
    "in=notin",
    "pcs=chat,component in (prefill,decode),!absent",
    "pcs\t=\nchat",
]
LEAVES = [
    "absent",
    "!pcs",
    "pcs=other",
    "pcs=",
    "pcs!=chat",
    "pcs notin (chat)",
    "pcs in ()",
    "absent=",
    "absent in ()",
    "rank>8",
    "rank<8",
    "pcs>1",
    "absent>1",
    "pcs=chat,component=decode",
]

REFUSED = {
    "pcs=chat,": "found '', expected: identifier after ','",
    ",": "found ',', expected: !, identifier, or 'end of string'",
    "=x": "found '=', expected: !, identifier, or 'end of string'",
    "pcs=a||b=c": "Invalid value: 'a||b'",
    "pcs==a==b": "found '==', expected: ',' or 'end of string'",
    "!pcs=a": "found '=', expected: ',' or 'end of string'",
    "!!pcs": "found '!', expected: identifier",
    "!": "found '', expected: identifier",
    "pcs chat": "found 'chat', expected: in, notin, =, ==, !=, gt, lt",
    "pcs in chat": "found 'chat' expected: '('",
    "pcs in": "found '' expected: '('",
    "pcs in (": "found '', expected: ',', ')' or identifier",
    "pcs in (=": "found '=', expected: ',', ')' or identifier",
    "pcs in (a": "found '', expected: ',' or ')'",
    "pcs in (a b)": "found 'b', expected: ',' or ')'",
    "pcs in (a,=)": "found '=', expected: ',', or identifier",
    "pcs in (a))": "found ')', expected: ',' or 'end of string'",
    "pcs=(a)": "found '(', expected: identifier",
    "pcs===a": "found '=', expected: identifier",
    "rank>-1": "Invalid value: '-1'",
    "rank>x": "for 'Gt', 'Lt' operators, the value must be an integer",
    "rank>": "for 'Gt', 'Lt' operators, the value must be an integer",
    "-pcs=a": "Invalid value: '-pcs'",
    "a/b/c=x": "Invalid value: 'a/b/c'",
    "/b=x": "Invalid value: '/b'",
    "UPPER.example/b=x": "Invalid value",
    "pcs=-a": "Invalid value: '-a'",
    "pcs=org/model": "Invalid value: 'org/model'",
    'pcs="chat"': "Invalid value: '\"chat\"'",
    f"pcs={'a' * 64}": "Invalid value",
    f"{'a' * 64}=x": "Invalid value",
    "pcs=ä": "Invalid value: 'ä'",
    "x" * 5000: "may have 4096 characters",
}


@pytest.mark.parametrize("text", TAKES)
def test_a_selector_takes(text):
    assert parse(text).matches(LABELS)


@pytest.mark.parametrize("text", LEAVES)
def test_a_selector_leaves(text):
    assert not parse(text).matches(LABELS)


@pytest.mark.parametrize(("text", "why"), REFUSED.items(), ids=[text[:20] for text in REFUSED])
def test_a_selector_is_refused_with_the_place(text, why):
    with pytest.raises(BadSelector) as refused:
        parse(text)
    assert why in str(refused.value)
    assert (refused.value.status, refused.value.reason) == (400, "BadRequest")


@given(st.text(alphabet="ab1=!<>(), in\t-./_", max_size=40))
def test_any_text_is_parsed_or_refused(text):
    try:
        selector = parse(text)
    except BadSelector:
        return
    assert selector.matches({}) in (True, False)


NAMES = st.from_regex(r"[a-z]([-a-z0-9_.]{0,6}[a-z0-9])?", fullmatch=True)


@given(wanted=st.dictionaries(NAMES, NAMES, max_size=4), more=st.dictionaries(NAMES, NAMES, max_size=4))
def test_what_matchlabels_renders_takes_exactly_what_has_them(wanted, more):
    rendered = ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))
    labels = {**wanted, **more}
    assert parse(rendered).matches(labels) == all(labels[key] == value for key, value in wanted.items())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", True),
        ("a", True),
        ("a.b_c-D9", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("-a", False),
        ("a/b", False),
    ],
)
def test_what_a_selector_can_name(text, answer):
    assert is_label_value(text) is answer
