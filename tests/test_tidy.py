"""The shape of the source tree: promises that no single module can keep."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import grove_dp
from grove_dp.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
OPERATOR = ROOT / "operator"
PACKAGE = [*sorted((ROOT / "grove_dp").rglob("*.py")), *sorted(OPERATOR.rglob("*.py"))]
OURS = [
    path
    for folder in ("grove_dp", "operator", "csrc", "bench", "tests")
    for pattern in ("*.py", "*.pyx", "*.pyi", "*.c", "*.h")
    for path in sorted((ROOT / folder).rglob(pattern))
    if "fixtures" not in path.parts and path != Path(__file__)
]
LINES_MAX = 900
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError|xfail)\b")
HEAVY = (
    "aiohttp",
    "asyncio",
    "jinja2",
    "msgspec",
    "numpy",
    "prometheus_client",
    "rich",
    "tokenizers",
    "uvloop",
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def public(path: Path) -> bool:
    return not path.stem.startswith("_") and path.stem != "plot"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("path", OURS, ids=named)
def test_a_source_file_is_finished_and_not_too_long(path):
    text = path.read_text()
    assert UNFINISHED.findall(text) == []
    assert text.count("\n") <= LINES_MAX


@pytest.mark.parametrize("path", PACKAGE, ids=named)
def test_a_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree)


@pytest.mark.parametrize("path", [path for path in PACKAGE if public(path)], ids=named)
def test_a_public_module_lists_its_names(path):
    names = {
        target.id
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in names


@pytest.mark.parametrize("path", sorted((ROOT / "grove_dp" / "native").glob("*.pyx")), ids=named)
def test_a_native_module_has_its_types(path):
    assert path.with_suffix(".pyi").exists()


def test_the_operator_folder_never_becomes_a_package():
    # `operator/__init__.py` would shadow Python's own `operator` for everything started from the checkout.
    assert not (ROOT / "operator" / "__init__.py").exists()
    if (ROOT / "operator" / "grove_operator").exists():
        mapping = project()["tool"]["setuptools"]["package-dir"]
        assert mapping["grove_operator"] == "operator/grove_operator"


def test_the_version_stands_in_two_places_and_is_one():
    assert project()["project"]["version"] == grove_dp.__version__


def test_the_pinned_requirements_are_within_the_promised_ranges():
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    for text in [*project()["project"]["dependencies"], *project()["build-system"]["requires"]]:
        wanted = Requirement(text)
        assert pins[wanted.name.lower()] in wanted.specifier, text


def test_the_pinned_requirements_are_what_is_installed():
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert {name: importlib.metadata.version(name) for name in pins} == pins


def test_every_command_has_its_module():
    for command in COMMANDS:
        assert (ROOT / "grove_dp" / "cli" / f"{command.replace('-', '_')}.py").exists()


@pytest.mark.parametrize("words", [["--help"], ["bogus"]], ids=" ".join)
def test_the_bare_command_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom grove_dp.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"sys.exit(str([name for name in {HEAVY!r} if name in sys.modules]).replace('[]', '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Each module in a fork of a process that has the libraries already: 10 ms each instead of 300.
IMPORT_EACH = """
import os, sys, importlib
import aiohttp, msgspec, numpy, prometheus_client, rich.live, tokenizers, uvloop, yaml

wrong = []
for module in sys.argv[1:]:
    child = os.fork()
    if not child:
        importlib.import_module(module)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{module} cannot be imported first")
"""


def test_every_module_can_be_imported_first():
    # A cycle shows only when its wrong end is imported first.
    sources = [path for path in PACKAGE if path.stem != "__main__"]
    parts = [
        path.relative_to(OPERATOR if OPERATOR in path.parents else ROOT).with_suffix("").parts
        for path in sources
    ]
    modules = [".".join(part for part in module if part != "__init__") for module in parts]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
