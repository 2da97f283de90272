"""pytest plugin: one real control plane for all tests that ask for it (`-p grove_dp.testing.plugin`).

    controlplane                    the fixture: one instance per test process, with all programs there are
    kubelet                         its fake kubelet, for tests whose pods fail or lose their readiness
    kube_namespace                  a fresh namespace of it, for one test
    @pytest.mark.controlplane(...)  the test needs it; the arguments are programs that it cannot do without

The programs are found, or built, after collection and outside of any test's time limit. Where they cannot be
had the tests are left out, and a section of the summary says so in capitals, with the remedy: a machine that
is meant to run them must not pass in silence. A build that fails is not a reason to skip: it fails the tests.
"""

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from grove_dp.testing.controlplane import BuildFailed, ControlPlane, NoControlPlane, Programs, programs
from grove_dp.testing.controlplane.progress import Progress
from grove_dp.testing.kubelet import FakeKubelet

__all__ = ["controlplane", "kube_namespace", "kubelet"]

MARK = "controlplane"
PREFIX = "needs a control plane: "
FOUND = pytest.StashKey[Programs | NoControlPlane | BuildFailed]()
_NUMBERS = itertools.count(1)


# ------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def _whole(pytestconfig: pytest.Config) -> Iterator[tuple[ControlPlane, FakeKubelet]]:
    found = _programs(pytestconfig)
    scheduler, manager = (name in found.files for name in ("kube-scheduler", "kube-controller-manager"))
    with (
        ControlPlane(scheduler=scheduler, controller_manager=manager, found=found) as plane,
        FakeKubelet(plane.api) as kubelet,
    ):
        yield plane, kubelet


@pytest.fixture(scope="session")
def controlplane(_whole: tuple[ControlPlane, FakeKubelet]) -> ControlPlane:
    """etcd, API server, and scheduler and controller manager where there are any; pods that are bound run."""
    return _whole[0]


@pytest.fixture(scope="session")
def kubelet(_whole: tuple[ControlPlane, FakeKubelet]) -> FakeKubelet:
    """Acts for all nodes of `controlplane`."""
    return _whole[1]


@pytest.fixture
def kube_namespace(controlplane: ControlPlane) -> str:
    """A namespace that no other test has. It stays: deleting one takes five seconds."""
    return controlplane.namespace(f"test-{next(_NUMBERS)}")


def _programs(config: pytest.Config) -> Programs:
    found = config.stash[FOUND]
    if isinstance(found, NoControlPlane):
        pytest.skip(f"{PREFIX}{found}")
    if isinstance(found, BuildFailed):
        raise found
    return found


# ------------------------------------------------------------ hooks


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", f"{MARK}(*programs): needs a real Kubernetes control plane")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for the fixture needs the programs."""
    for item in items:
        if "_whole" in getattr(item, "fixturenames", ()):
            item.add_marker(MARK)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build the programs, if any test that will run needs them."""
    config = session.config
    if config.option.collectonly or not any(item.get_closest_marker(MARK) for item in session.items):
        return
    try:
        config.stash[FOUND] = programs(Progress(sys.__stderr__, _uncaptured(config)))
    except (NoControlPlane, BuildFailed) as error:
        config.stash[FOUND] = error


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave the test out where a program that it needs is missing."""
    for mark in item.iter_markers(MARK):
        files = _programs(item.config).files
        if missing := [name for name in mark.args if name not in files]:
            pytest.skip(f"{PREFIX}no {', no '.join(missing)} in KUBEBUILDER_ASSETS: unset it and install Go")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was left out, and what to do about it."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    reasons = Counter(str(reason[2]).removeprefix("Skipped: ") for reason in skipped if reason)
    left_out = {why.removeprefix(PREFIX): count for why, count in reasons.items() if why.startswith(PREFIX)}
    if not left_out:
        return
    terminalreporter.section("REAL KUBERNETES CONTROL PLANE: TESTS LEFT OUT", yellow=True, bold=True)
    for why, count in left_out.items():
        terminalreporter.line(f"{count} left out: {why}", yellow=True)


def _uncaptured(config: pytest.Config) -> Callable[[Callable[[], None]], None]:
    """Writes past pytest's capture: a build of minutes must not look like a hang."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def shown(write: Callable[[], None]) -> None:
        if capture is None:
            write()
        else:
            with capture.global_and_fixture_disabled():
                write()

    return shown
