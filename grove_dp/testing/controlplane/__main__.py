"""`python -m grove_dp.testing.controlplane`: a control plane to work with by hand, until Ctrl-C.

The path of the admin's kubeconfig goes to stdout, everything else to stderr:
`export KUBECONFIG=$(...)` does not work, because it waits; read the first line instead.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from grove_dp.errors import GroveError
from grove_dp.testing.controlplane.binaries import programs
from grove_dp.testing.controlplane.plane import ControlPlane
from grove_dp.testing.kubelet import FakeKubelet

LOOK_S = 0.5
INTERRUPTED = 128 + signal.SIGINT


def main(words: Sequence[str] | None = None) -> int:
    """Run until a signal; the exit code."""
    arguments = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return _build() if arguments.build else _serve(arguments)
    except KeyboardInterrupt:
        print("\nended", file=sys.stderr)
        return INTERRUPTED
    except GroveError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grove_dp.testing.controlplane",
        description="Start etcd and kube-apiserver on loopback, print a kubeconfig's path, wait for Ctrl-C.",
    )
    parser.add_argument("--scheduler", action="store_true", help="start kube-scheduler too")
    parser.add_argument(
        "--controller-manager",
        action="store_true",
        help="start kube-controller-manager too (HPA, Deployments, ...)",
    )
    parser.add_argument("--nodes", type=int, default=0, metavar="N", help="make so many fake nodes")
    parser.add_argument("--gpus", type=int, default=8, metavar="N", help="GPUs of each (default: 8)")
    parser.add_argument(
        "--no-kubelet", action="store_true", help="leave bound pods Pending instead of having them run"
    )
    parser.add_argument("--build", action="store_true", help="only build the programs, if need be")
    return parser


def _build() -> int:
    print(*sorted({str(path) for path in programs().files.values()}), sep="\n")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        plane = stack.enter_context(
            ControlPlane(scheduler=arguments.scheduler, controller_manager=arguments.controller_manager)
        )
        if not arguments.no_kubelet:
            stack.enter_context(FakeKubelet(plane.api))
        plane.add_nodes(arguments.nodes, gpus=arguments.gpus)
        print(plane.admin.kubeconfig, flush=True)
        print(_how_to_use(plane, time.monotonic() - began), file=sys.stderr, flush=True)
        while True:
            plane.check()
            time.sleep(LOOK_S)


def _how_to_use(plane: ControlPlane, took_s: float) -> str:
    lines = [
        f"Kubernetes {plane.programs.version} at {plane.admin.url}, ready after {took_s:.1f} s.",
        "In another shell:",
        f"    export KUBECONFIG={plane.admin.kubeconfig}",
    ]
    if "kubectl" in plane.programs.files:
        folder = plane.folder / "bin"
        folder.mkdir()
        (folder / "kubectl").symlink_to(plane.programs.file("kubectl"))  # the name selects the program
        lines.append(f"    export PATH={folder}:$PATH")
        lines.append("    kubectl get nodes,pods -A")
    lines.append(f"Logs: {plane.folder}/*.log. Ctrl-C ends it and removes all of this.")
    return "\n".join(lines)


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
