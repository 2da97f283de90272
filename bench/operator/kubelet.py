"""The kubelet of all nodes as a process of its own: `python -m bench.operator.kubelet KUBECONFIG`.

In the bench's process it would share the interpreter with whoever notes the times. Pods are Ready at once and
gone at once. Prints `ready`, runs until its input ends.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from grove_dp.kube.access import connect
from grove_dp.testing.kubelet import Kubelet


async def run(kubeconfig: Path) -> None:
    """Act until the owner goes."""
    async with await connect(kubeconfig) as api, Kubelet(api):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1])))
