"""Writes the definitions to operator/crds, and pods' schemas anew when it is told of an API server.

    python -m grove_operator.crds                          from core.json as it is
    python -m grove_operator.crds --kubeconfig admin.conf  from a cluster's OpenAPI: core.json first
    python -m grove_operator.crds --openapi api/openapi-spec/v3   from Kubernetes' own files

Take the newest Kubernetes: its pods have the fields of the older ones, too.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from grove_dp.errors import GroveError
from grove_dp.kube.access import connect
from grove_operator.crds import definition, kinds, written
from grove_operator.crds.core import SOURCES, Core, cut
from grove_operator.crds.schema import Schema

HERE = Path(__file__).parent
CRDS = HERE.parent.parent / "crds"


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m grove_operator.crds", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--kubeconfig", type=Path, help="of the cluster whose OpenAPI to take")
    source.add_argument("--openapi", type=Path, help="a folder of OpenAPI documents as Kubernetes keeps them")
    parser.add_argument("--out", type=Path, default=CRDS, help="where the definitions go (%(default)s)")
    args = parser.parse_args(argv)
    try:
        if args.kubeconfig or args.openapi:
            sources = _saved(args.openapi) if args.openapi else asyncio.run(_served(args.kubeconfig))
            (HERE / "core.json").write_text(_lines(cut(sources)))
    except (GroveError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in kinds(Core.committed()):
        (args.out / kind.file).write_text(written(definition(kind)))
    return 0


def _saved(folder: Path) -> list[Mapping[str, Any]]:
    files = (folder / f"{source.replace('/', '__')}_openapi.json" for source in SOURCES)
    return [msgspec.json.decode(file.read_bytes(), type=dict[str, Any]) for file in files]


async def _served(kubeconfig: Path) -> list[Mapping[str, Any]]:
    async with await connect(kubeconfig) as api:
        return [await api.get(f"/openapi/v3/{source}", into=dict[str, Any]) for source in SOURCES]


def _lines(components: Mapping[str, Schema]) -> str:
    """A component a line, so that a diff shows which changed."""
    lines = (
        f'"{name}":{msgspec.json.encode(schema, order="sorted").decode()}'
        for name, schema in components.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())
