"""Whether a template takes parts or text is read from its syntax tree, as the worker reads it."""

from datetime import datetime

import pytest

from grove_dp.tokens.content import content_format
from grove_dp.tokens.environment import template_environment

SHOW = "{% macro show(c) %}{% for p in c %}{{ p }}{% endfor %}{% endmacro %}"
LOOP = "{% for m in messages %}{BODY}{% endfor %}"


@pytest.mark.parametrize(
    ("body", "form"),
    [
        ("{{ m.content }}", "string"),
        ("{{ m['content'] | trim }}", "string"),
        ("{% for p in m.content %}{{ p.text }}{% endfor %}", "openai"),
        ("{% for p in m['content'] %}{{ p }}{% endfor %}", "openai"),
        ("{% for p in m['content'] | list %}{{ p }}{% endfor %}", "openai"),
        ("{% for p in m.content[1:] %}{{ p }}{% endfor %}", "openai"),
        ("{% for p in m.parts %}{{ p }}{% endfor %}", "string"),
        ("{% for k, v in m.content.items() %}{{ k }}{% endfor %}", "string"),
        ("{% set content = m.content %}{% for p in content %}{{ p }}{% endfor %}", "openai"),
        ("{% set c = m.content %}{% for p in c %}{{ p }}{% endfor %}", "string"),
    ],
)
def test_a_template_that_loops_over_content_takes_parts(body, form):
    source = LOOP.replace("{BODY}", body)
    assert content_format(source, template_environment(datetime.now)) == form


@pytest.mark.parametrize(
    ("source", "form"),
    [
        (
            "{% set r = messages[1:] %}{% for m in r %}{% for p in m.content %}{% endfor %}{% endfor %}",
            "openai",
        ),
        (
            SHOW + "{% for m in messages %}{{ show(m.content) }}{% endfor %}",
            "openai",
        ),
        (
            SHOW + "{% for m in messages %}{{ show(c=m['content']) }}{% endfor %}",
            "openai",
        ),
        (
            SHOW + "{% for m in messages %}{{ show(m.tools) }}{% endfor %}",
            "string",
        ),
        ("{% for i, m in messages %}{% for p in m.content %}{% endfor %}{% endfor %}", "string"),
        ("{% for m in messages %}{% if %}", "string"),
        ("no messages at all", "string"),
    ],
)
def test_variables_slices_and_macros_are_followed(source, form):
    assert content_format(source, template_environment(datetime.now)) == form
