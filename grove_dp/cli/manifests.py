"""`grove-dp manifests`: what is installed into a cluster, as YAML or applied at once."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grove_dp.errors import ConfigurationError

if TYPE_CHECKING:
    from grove_dp.cli.main import Subparsers
    from grove_dp.metering.external.manifests import Install

__all__ = ["add_parser", "run"]

_EPILOG = """\
  grove-dp manifests metrics-adapter --image IMAGE --frontends-dns NAME:9090 | kubectl apply -f -
  grove-dp manifests metrics-adapter --image IMAGE --frontends-dns NAME:9090 --apply
  grove-dp manifests operator --image IMAGE | kubectl apply --server-side -f -
  grove-dp manifests autoscale --image IMAGE --frontends-dns NAME:9090 --namespace WHAT-IS-SCALED

A cluster has one APIService for external metrics. If another adapter has it, nothing is printed or applied
(exit code 1); --offline does not look.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """One name per part that can be installed."""
    parser = subparsers.add_parser(
        "manifests",
        description="Print or apply what is installed into a cluster.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=["operator", "metrics-adapter", "autoscale"], help="what to install")
    parser.add_argument("--image", required=True, help="image with the command grove-dp")
    parser.add_argument(
        "--frontends-dns",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a name whose addresses are the frontends' admin ports (repeatable; not of the operator)",
    )
    parser.add_argument(
        "--namespace", default="grove-dp", help="where; it must exist but for the operator (%(default)s)"
    )
    parser.add_argument("--name", help="of all that is made (grove-operator, or grove-dp- and the part)")
    parser.add_argument("--replicas", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument(
        "--cert-manager-issuer", metavar="NAME", help="an Issuer there; unset: we keep a certificate"
    )
    parser.add_argument(
        "--arg", action="append", default=[], metavar="WORD", help="more flags for the process (repeatable)"
    )
    parser.add_argument("--apply", action="store_true", help="apply instead of print")
    parser.add_argument("--offline", action="store_true", help="print without looking at the cluster")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="else $KUBECONFIG or ~/.kube/config")
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig")


def run(args: argparse.Namespace) -> int:
    """Print the documents, or apply them."""
    import asyncio

    from grove_dp.metering.external.manifests import Install, documents, to_yaml
    from grove_dp.metering.external.overview import frontend_url

    if args.part == "operator":
        return _operator(args)
    if not args.frontends_dns:
        raise ConfigurationError("name the frontends: --frontends-dns HOST:PORT")
    for named in args.frontends_dns:
        frontend_url(named)
    if args.part == "autoscale":
        return _autoscale(args)
    to = Install(
        namespace=args.namespace,
        name=args.name or "grove-dp-metrics-adapter",
        image=args.image,
        args=(*(word for named in args.frontends_dns for word in ("--frontends-dns", named)), *args.arg),
        replicas=args.replicas,
        cert_manager_issuer=args.cert_manager_issuer,
    )
    if args.apply or not args.offline:
        asyncio.run(_with_cluster(to, args))
    if not args.apply:
        sys.stdout.write(to_yaml(documents(to)))
    return 0


def _operator(args: argparse.Namespace) -> int:
    """The same for the operator."""
    import asyncio

    from grove_operator.install import Install, documents, install, to_yaml

    from grove_dp.kube.access import connect

    to = Install(
        namespace=args.namespace,
        name=args.name or "grove-operator",
        image=args.image,
        args=tuple(args.arg),
        replicas=args.replicas,
        cert_manager_issuer=args.cert_manager_issuer,
    )

    async def applied() -> None:
        async with await connect(args.kubeconfig, args.context) as api:
            for one in await install(api, to):
                print(f"applied {one}")

    if args.apply:
        asyncio.run(applied())
    else:
        sys.stdout.write(to_yaml(documents(to)))
    return 0


def _autoscale(args: argparse.Namespace) -> int:
    """The same for the autoscaler."""
    import asyncio

    from grove_dp.kube.access import connect
    from grove_dp.scaling.manifests import Install, documents, install, to_yaml

    to = Install(
        namespace=args.namespace,
        name=args.name or "grove-dp-autoscale",
        image=args.image,
        args=(*(word for named in args.frontends_dns for word in ("--frontend", named)), *args.arg),
        replicas=args.replicas,
    )

    async def applied() -> None:
        async with await connect(args.kubeconfig, args.context) as api:
            for one in await install(api, to):
                print(f"applied {one}")

    if args.apply:
        asyncio.run(applied())
    else:
        sys.stdout.write(to_yaml(documents(to)))
    return 0


async def _with_cluster(to: "Install", args: argparse.Namespace) -> None:
    """Look whose the APIService is; then apply, if asked to."""
    from grove_dp.kube.access import connect
    from grove_dp.metering.external.manifests import install
    from grove_dp.metering.external.registration import check_free

    async with await connect(args.kubeconfig, args.context) as api:
        if not args.apply:
            await check_free(api, to.namespace, to.place.service)
            return
        for applied in await install(api, to):
            print(f"applied {applied}")
