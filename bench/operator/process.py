"""The operator as a process of its own, with its figures: `python -m bench.operator.process KUBECONFIG`.

On SIGTERM it prints one line of JSON: writes by kind and verb, CPU seconds, peak memory. It ends, too, when a
pipe that is its input ends: its owner has gone.
"""

import asyncio
import json
import os
import resource
import signal
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import uvloop
from grove_operator.main import Operator
from grove_operator.metrics import OperatorMetrics
from grove_operator.settings import Leader, OperatorSettings

from grove_dp.kube.access import connect

__all__ = ["main"]


class Counting(OperatorMetrics):
    """Also tells what it counted."""

    start_cpu_s = 0.0

    def figures(self) -> dict[str, object]:
        """Writes by kind and verb, errors apart."""
        done = {f"{kind} {verb}": count for (kind, verb, out), count in self._writes.items() if out == "done"}
        errors = {f"{kind} {verb} {out}": n for (kind, verb, out), n in self._writes.items() if out != "done"}
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "writes": done,
            "errors": errors,
            "cpu_s": round(used.ru_utime + used.ru_stime, 2),
            "start_cpu_s": round(self.start_cpu_s, 2),
            "peak_mib": round(used.ru_maxrss / 1024, 1),
        }


async def _run(kubeconfig: Path) -> None:
    metrics = Counting()
    async with await connect(kubeconfig) as api:
        operator = Operator(api, OperatorSettings(leader=Leader(enabled=False)), metrics=metrics)
        task = asyncio.create_task(operator.run())
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            loop.add_reader(0, task.cancel)
        while not operator.leading:  # noqa: ASYNC110  # once, before anything is measured
            await asyncio.sleep(0.05)
        metrics.start_cpu_s = time.process_time()
        print("ready", flush=True)
        with suppress(asyncio.CancelledError):
            await task
        print(json.dumps(metrics.figures()), flush=True)


def main() -> None:
    """Run until SIGTERM."""
    uvloop.run(_run(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
