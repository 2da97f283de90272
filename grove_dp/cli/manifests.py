"""`grove-dp manifests`: what a cluster needs, as YAML, or applied to it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]

_EPILOG = """\
examples:
  grove-dp manifests metrics-adapter --image REGISTRY/grove-dp:1 --frontends-dns grove-dp-admin.ml:9090 > adapter.yaml
  grove-dp manifests metrics-adapter --image REGISTRY/grove-dp:1 --frontends-dns grove-dp-admin.ml:9090 --apply
--apply refuses to take over an APIService that leads to somebody else's adapter.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """What, and how it differs between clusters."""
    parser = subparsers.add_parser("manifests", description="Tell or apply what a cluster needs.")
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    adapter = what.add_parser(
        "metrics-adapter",
        help="external metrics for HPA and KEDA",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    adapter.add_argument("--image", required=True, help="of grove-dp")
    adapter.add_argument(
        "--frontends-dns", action="append", required=True, metavar="HOST:PORT", help="see the adapter"
    )
    adapter.add_argument("--namespace", default="grove-dp", help="to install into (%(default)s)")
    adapter.add_argument("--name", default="grove-dp-metrics-adapter", help="of all objects (%(default)s)")
    adapter.add_argument("--replicas", type=int, default=2, help="of the adapter (%(default)s)")
    adapter.add_argument(
        "--cert-manager-issuer", metavar="NAME", help="let cert-manager keep the certificate"
    )
    adapter.add_argument("--apply", action="store_true", help="apply instead of telling")
    adapter.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the cluster for --apply")


def run(args: argparse.Namespace) -> int:
    """Print or apply."""
    import asyncio

    from grove_dp.metering.manifests import Install, documents, install, to_yaml
    from grove_dp.metering.overview import frontend_url

    for named in args.frontends_dns:
        frontend_url(named)
    to = Install(
        namespace=args.namespace,
        name=args.name,
        image=args.image,
        args=tuple(word for named in args.frontends_dns for word in ("--frontends-dns", named)),
        replicas=args.replicas,
        cert_manager_issuer=args.cert_manager_issuer,
    )
    if not args.apply:
        print(to_yaml(documents(to)), end="")
        return 0

    async def apply() -> list[str]:
        from grove_dp.kube.access import connect

        async with await connect(args.kubeconfig) as api:
            return await install(api, to)

    for line in asyncio.run(apply()):
        print(f"applied {line}")
    return 0
