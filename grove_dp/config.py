"""Where each setting comes from: flag > GROVE_DP_<SECTION>__<KEY> > --config YAML > default.

    add_settings_flags(parser)                 --http.port 8000, --port 8000, --config FILE, ...
    loaded = load(args, os.environ, file)      args: parsed by that parser, or None; file: overrides --config
    loaded.settings.http.port                  the values (settings.py)
    loaded.origins["http.port"]                "default", "grove.yaml:3", "GROVE_DP_HTTP__PORT", "--port"
    changes(before.settings, after.settings)   what a reload would change, and what of it needs a restart

That is `grove-dp serve`; another program with settings of its own says so by a `Program`, and is `read`.

Every source is checked whole, an overridden value too, and all that is wrong is told at once: `load` raises
one ConfigurationError whose messages name the place, the path and, for an unknown key, the nearest one.

Kubernetes injects GROVE_DP_PORT=tcp://... and the like where a Service is named grove-dp; so only variables
with a double underscore are ours, and one that merely lacks it is reported unless it holds an address.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from msgspec import Struct

from grove_dp.errors import ConfigurationError
from grove_dp.fields import ENV_PREFIX, Field, fields, nearest, value_of
from grove_dp.settings import RULES, Settings

__all__ = ["SERVE", "Change", "Loaded", "Program", "add_settings_flags", "changes", "load", "read"]

S = TypeVar("S", bound=Struct)

ALIASES = {
    "http.host": ("--host",),
    "http.port": ("--port",),
    "http.threads": ("--threads",),
    "admin.host": ("--admin-host",),
    "admin.port": ("--admin-port",),
    "workers.urls": ("--workers",),
    "workers.file": ("--workers-file",),
    "workers.kubernetes": ("--workers-kubernetes",),
    "kubernetes.namespace": ("--namespace",),
    "kubernetes.kubeconfig": ("--kubeconfig",),
    "kubernetes.context": ("--context",),
    "workers.model": ("--model",),
    "workers.max_inflight": ("--max-inflight",),
    "routing.policy": ("--policy",),
    "log.level": ("--log-level",),
    "log.format": ("--log-format",),
}


@dataclass(frozen=True, slots=True)
class Program(Generic[S]):
    """What has settings: a Struct of sections, rules of the whole, its variables' prefix, short flags."""

    kind: type[S]
    rules: tuple[Callable[[S], tuple[str, str] | None], ...]
    prefix: str
    aliases: Mapping[str, tuple[str, ...]]

    @property
    def fields(self) -> Mapping[str, Field]:
        """Every setting by its path."""
        return fields(self.kind, self.prefix)


SERVE = Program(Settings, RULES, ENV_PREFIX, ALIASES)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, by path, where each value came from."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that differs after a reload; it needs a restart unless it is live."""

    path: str
    before: Any
    after: Any
    live: bool


@dataclass(frozen=True, slots=True)
class _Given:
    path: str
    raw: Any
    origin: str
    is_text: bool  # from a shell: every value is a string


def add_settings_flags(parser: argparse.ArgumentParser, program: Program[Any] = SERVE) -> None:
    """One flag per setting, plus --config FILE."""
    parser.allow_abbrev = False  # a prefix that is unique today is ambiguous after the next setting
    parser.usage = parser.usage or "%(prog)s [--help] [--config FILE] [--SECTION.KEY VALUE ...]"
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with settings")
    group = parser
    for field in program.fields.values():
        if field.section != getattr(group, "title", None):
            group = parser.add_argument_group(field.section)  # type: ignore[assignment]
        boolean = field.base is bool
        group.add_argument(
            f"--{field.path}",
            *program.aliases.get(field.path, ()),
            action=_RepeatableFlag if field.is_list else _Flag,
            dest=field.path,
            default=argparse.SUPPRESS,
            metavar=field.form,
            nargs="?" if boolean else None,
            const="true" if boolean else None,
            help=f"{field.description} [{field.show(field.default)}]".replace("%", "%%"),
        )


def load(args: argparse.Namespace | None, environ: Mapping[str, str], file: Path | None = None) -> Loaded:
    """The settings of `grove-dp serve`, from all sources; ConfigurationError as `read`."""
    return Loaded(*read(SERVE, args, environ, file))


def read(
    program: Program[S],
    args: argparse.Namespace | None,
    environ: Mapping[str, str],
    file: Path | None = None,
) -> tuple[S, Mapping[str, str]]:
    """Merge all sources, or raise ConfigurationError with everything that is wrong in them."""
    file = file or getattr(args, "config", None)
    known = program.fields
    problems: list[str] = []
    values: dict[str, dict[str, Any]] = {}
    origins = dict.fromkeys(known, "default")
    for given in _all_given(known, program.prefix, args, environ, file, problems):
        field = known[given.path]
        try:
            values.setdefault(field.section, {})[field.name] = (
                field.parse if given.is_text else field.value
            )(given.raw)
        except ValueError as error:
            problems.append(f"{given.origin}: {given.path}: {error}")
        else:
            origins[given.path] = given.origin
    kinds = get_type_hints(program.kind)
    if not problems:
        settings = program.kind(**{section: kinds[section](**chosen) for section, chosen in values.items()})
        objections = [found for rule in program.rules if (found := rule(settings))]
        problems = [f"{_place(origins[path])}{path}: {why}" for path, why in objections]
    if problems:
        raise ConfigurationError(problems)
    return settings, origins


def changes(before: Settings, after: Settings) -> list[Change]:
    """The settings that differ, in the order of settings.py."""
    differing = (
        (field, value_of(before, field.path), value_of(after, field.path)) for field in fields().values()
    )
    return [Change(field.path, old, new, field.live) for field, old, new in differing if old != new]


def _all_given(
    known: Mapping[str, Field],
    prefix: str,
    args: argparse.Namespace | None,
    environ: Mapping[str, str],
    file: Path | None,
    problems: list[str],
) -> Iterator[_Given]:
    """Every value of every source, the stronger source later."""
    if file is not None:
        yield from _YamlFile(known, file, problems).given()
    yield from _from_environment(known, prefix, environ, problems)
    for path, (option, text) in getattr(args, "given", {}).items():
        yield _Given(path, text, option, is_text=True)


class _YamlFile:
    """The --config file, read as nodes, for they know their lines and show a key that stands twice."""

    def __init__(self, known: Mapping[str, Field], file: Path, problems: list[str]) -> None:
        import yaml  # 15 ms that a start without --config saves

        self._yaml = yaml
        self._known = known
        self._file = file
        self._problems = problems
        try:
            self._loader = yaml.SafeLoader(file.read_text(encoding="utf-8"))
            self._root = self._loader.get_single_node()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"{file}: cannot be read: {why}") from None
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{file}: is no YAML: {_one_line(error)}") from None

    def given(self) -> Iterator[_Given]:
        sections = {field.section for field in self._known.values()}
        for section, place, below in self._pairs(self._root, "the file"):
            if section not in sections:
                self._problems.append(f"{place}: {section}: no such section{nearest(section, sections)}")
                continue
            for name, key_place, value in self._pairs(below, section):
                path = f"{section}.{name}"
                if path in self._known:
                    yield from self._value(path, key_place, value)
                else:
                    self._problems.append(f"{key_place}: {path}: no such setting{nearest(path, self._known)}")

    def _pairs(self, node: Any, what: str) -> Iterator[tuple[str, str, Any]]:
        """(key, place, value node) for each key of a mapping; an empty node is an empty mapping."""
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return
        if not isinstance(node, self._yaml.MappingNode):
            self._problems.append(f"{self._place(node)}: {what}: must be a mapping of settings")
            return
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                self._problems.append(f"{self._place(key)}: {what}: {name} stands twice; keep one")
            seen.add(name)
            yield name, self._place(key), value

    def _value(self, path: str, place: str, node: Any) -> Iterator[_Given]:
        try:
            yield _Given(path, self._loader.construct_object(node, deep=True), place, is_text=False)
        except (self._yaml.YAMLError, ValueError) as error:
            self._problems.append(f"{place}: {path}: {_one_line(error)}")

    def _place(self, node: Any) -> str:
        return f"{self._file}:{node.start_mark.line + 1}"


def _from_environment(
    settings: Mapping[str, Field], prefix: str, environ: Mapping[str, str], problems: list[str]
) -> Iterator[_Given]:
    known = {field.variable: field.path for field in settings.values()}
    single = {name.replace("__", "_"): name for name in known}
    for name in sorted(name for name in environ if name.startswith(prefix)):
        if name in known:
            yield _Given(known[name], environ[name], name, is_text=True)
        elif "__" in name.removeprefix(prefix):
            problems.append(f"{name}: no such setting{nearest(name, known)}")
        elif name in single and "://" not in environ[name]:
            problems.append(f"{name}: is not read; write {single[name]}, with two underscores")


class _Flag(argparse.Action):
    """Keeps what was given, and by which spelling, apart from the other arguments: `args.given`."""

    repeatable = False

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        given: dict[str, tuple[str, str]] = dict(getattr(namespace, "given", {}))
        text, path = str(values), self.dest
        if path in given and self.repeatable:
            text = f"{given[path][1]},{text}"
        given[path] = (option or f"--{path}", text)
        namespace.given = given


class _RepeatableFlag(_Flag):
    repeatable = True


def _place(origin: str) -> str:
    return "" if origin == "default" else f"{origin}: "


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
