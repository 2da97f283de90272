"""The short ways of the template environment are the sandbox's ways, and the sandbox holds."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from grove_dp.tokens.environment import template_environment

MADE = template_environment(lambda: datetime(2026, 11, 21, tzinfo=UTC))
PLAIN = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.text(max_size=4),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["a", "items", "_x"]), st.integers(), max_size=2),
)
SNIPPETS = """
{{ x.a }}
{{ x['a'] }}
{{ x.items }}
{{ x.a.b }}
{{ x._x }}
{{ x.__class__ }}
{{ x.upper() }}
{{ x.startswith('a') }}
{{ x.strip('a') + 'b' + y + 'c' }}
{{ x + y }}
{{ x + y + x }}
{{ 1 + x + y }}
{{ missing + x + y }}
{{ x.format(1) }}
{{ '{0.__class__}'.format(x) }}
{{ x.append(1) }}
{{ x.update(a=1) }}
{{ x.split.__self__ }}
{{ (x ~ y).split('a')[-1].lstrip('b') }}
{{ (x | string | e) + '<' + '>' }}
{% for i in x %}{{ loop.index0 }}{{ loop.last }}{{ loop.nothing }}{{ loop.previtem }}{% endfor %}
{% for i in x %}{{ i.upper() if i is string else i }}{% if loop.first %}{% break %}{% endif %}{% endfor %}
{% set ns = namespace(found=x) %}{% set ns.found = y %}{{ ns.found }}{{ ns.other }}{{ ns._found }}
{% macro m(a) %}<{{ a }}>{{ caller() if caller else '' }}{% endmacro %}{{ m(x) + m(y) + 'z' }}
""".split("\n")[1:-1]


def outcome(template, x, y):
    try:
        return template.render(x=x, y=y)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the same in both
        return type(error)


@pytest.mark.parametrize("source", SNIPPETS)
def test_the_short_ways_lead_where_the_sandbox_leads(source):
    made, plain = MADE.from_string(source), PLAIN.from_string(source)

    @given(VALUES, VALUES)
    @settings(max_examples=60, deadline=None)
    def same(x, y):
        assert outcome(made, x, y) == outcome(plain, x, y)

    same()


@pytest.mark.parametrize(
    "source",
    [
        "{{ x.__class__.__mro__ }}",
        "{{ x.upper.__self__.__class__ }}",
        "{{ '{0.__class__.__mro__}'.format(x) }}",
        "{{ ''.join.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ strftime_now.__globals__ }}",
    ],
)
def test_a_template_does_not_get_out(source):
    try:
        told = MADE.from_string(source).render(x="a", messages=[])
    except SecurityError:
        return
    assert told == ""


def test_what_transformers_gives_templates_is_there():
    source = """{%- set text = {'b': 'é<', 'a': [1, none]} | tojson -%}
{% generation %}{{ text }}{% endgeneration %}|{{ strftime_now('%d %b %Y') }}|{{ [1] | tojson(indent=1) }}
"""
    told = MADE.from_string(source).render()
    assert told == '{"b": "é<", "a": [1, null]}|21 Nov 2026|[\n 1\n]'


def test_a_template_can_refuse_a_conversation():
    with pytest.raises(TemplateError, match="roles must alternate"):
        MADE.from_string("{{ raise_exception('roles must alternate') }}").render()
