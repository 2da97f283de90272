"""A kubelet for all nodes at once: pods bound to a node run, fail, end. No container is started.

    async with Kubelet(api, clock, course=lambda pod: Course(ready_s=30)) as kubelet:
        await kubelet.lose("node-3")

What becomes of a pod is its `Course`; what runs in it, if anything, is `Containers`. It talks to the API
server like any client, so it serves the real one and ours, in any clock's time.

`agent`    the kubelet
`status`   what it writes
`thread`   `FakeKubelet`, the same for tests that block
"""

from grove_dp.testing.kubelet.agent import Containers, Course, Kubelet, Nothing
from grove_dp.testing.kubelet.thread import FakeKubelet

__all__ = ["Containers", "Course", "FakeKubelet", "Kubelet", "Nothing"]
