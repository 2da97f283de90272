"""A real control plane: it starts, judges who may do what, schedules, scales, and leaves nothing behind."""

import json
import signal
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from grove_dp.testing.controlplane import Api, ApiRefused, ControlPlane, Programs, flags, plane, programs
from grove_dp.testing.controlplane.folder import OwnedFolder, base_folder
from grove_dp.testing.frontend import free_port

pytestmark = pytest.mark.controlplane
WHOLE = pytest.mark.controlplane("kube-scheduler", "kube-controller-manager")
PODS = "/api/v1/namespaces/{}/pods"


def pod(name: str, **spec: object) -> dict:
    containers = [{"name": "main", "image": "none"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def gone(pids: dict[str, int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(alive, pids.values())):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gangs_needed(of: ControlPlane) -> None:
    if of.programs.minor < flags.GANG_MINOR:
        pytest.skip(f"gang scheduling in this form needs Kubernetes 1.{flags.GANG_MINOR}")


@pytest.fixture
def found() -> Programs:
    return programs()


# ------------------------------------------------------------ who may do what


def test_it_tells_its_version(controlplane):
    assert controlplane.api.get("/version")["gitVersion"] == controlplane.programs.version


def test_kubectl_agrees_with_the_server_about_the_version(controlplane):
    told = controlplane.kubectl("version").stdout
    assert told.count(controlplane.programs.version) == 2


def test_who_has_no_role_is_forbidden(controlplane):
    api = controlplane.connect(controlplane.user("mallory", "curious"))
    assert api.call("GET", PODS.format("default")).status == 403


def test_who_shows_no_certificate_is_unauthorized(controlplane):
    assert controlplane.connect(controlplane.nobody()).call("GET", "/version").status == 401


def test_another_authority_is_not_believed(controlplane):
    stranger = controlplane.front_proxy_authority.client("admin", ["system:masters"])
    access = controlplane.access("stranger", stranger)
    assert controlplane.connect(access).call("GET", "/version").status == 401


def test_an_expired_certificate_is_not_believed(controlplane):
    late = controlplane.authority.client("admin", ["system:masters"], days=-1)
    assert controlplane.connect(controlplane.access("late", late)).call("GET", "/version").status == 401


def test_a_user_may_do_what_a_role_binding_of_their_group_says(controlplane, kube_namespace):
    api = controlplane.connect(controlplane.user("alice", "readers"))
    group, name = "rbac.authorization.k8s.io", {"metadata": {"name": "readers"}}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    binding = {
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "readers"},
        "subjects": [{"kind": "Group", "name": "readers", "apiGroup": group}],
    }
    path = f"/apis/{group}/v1/namespaces/{kube_namespace}"
    controlplane.api.create(f"{path}/roles", name | {"rules": rules})
    controlplane.api.create(f"{path}/rolebindings", name | binding)
    api.until(PODS.format(kube_namespace), lambda _: True, 5, "alice may list pods")
    with pytest.raises(ApiRefused, match="cannot create resource") as refused:
        api.create(PODS.format(kube_namespace), pod("not-hers"))
    assert (refused.value.code, refused.value.word) == (403, "Forbidden")


def test_the_same_name_twice_is_two_users_if_the_groups_differ(controlplane):
    weak = controlplane.user("carol")
    strong = controlplane.user("carol", "system:masters")
    assert controlplane.connect(weak).call("GET", PODS.format("default")).status == 403
    assert controlplane.connect(strong).call("GET", PODS.format("default")).status == 200


def who(api: Api) -> str:
    review = api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {"metadata": {}})
    return review["status"]["userInfo"]["username"]


def test_a_service_account_is_known_by_its_token(controlplane, kube_namespace):
    access = controlplane.service_account(kube_namespace, "robot")
    assert who(controlplane.connect(access)) == f"system:serviceaccount:{kube_namespace}:robot"


def test_a_token_is_believed_until_it_expires(controlplane, kube_namespace):
    controlplane.service_account(kube_namespace, "robot")
    fresh, stale = (controlplane.minted_token(kube_namespace, "robot", age_s) for age_s in (600, -60))
    assert who(controlplane.connect(controlplane.access("fresh", token=fresh))).endswith(":robot")
    assert (
        controlplane.connect(controlplane.access("stale", token=stale)).call("GET", "/version").status == 401
    )


def test_kubectl_reads_the_kubeconfig_of_any_user(controlplane):
    done = controlplane.kubectl("get", "pods", access=controlplane.user("bob"), check=False)
    assert done.returncode == 1
    assert 'User "bob" cannot list resource "pods"' in done.stderr


def test_an_unknown_field_is_refused(controlplane, kube_namespace):
    with pytest.raises(ApiRefused, match="unknown field"):
        controlplane.api.create(PODS.format(kube_namespace), pod("odd", schedulingGruop={}))


def test_gang_scheduling_is_served(controlplane):
    gangs_needed(controlplane)
    served = controlplane.api.get("/apis/scheduling.k8s.io/v1alpha2")["resources"]
    assert {"podgroups", "workloads"} <= {resource["name"] for resource in served}


# ------------------------------------------------------------ aggregated APIs


class Aggregated(BaseHTTPRequestHandler):
    """Answers every GET with who the API server says is asking, and whose certificate it showed."""

    def do_GET(self):
        shown = dict(field[0] for field in self.connection.getpeercert()["subject"])
        asked = {"user": self.headers["X-Remote-User"], "shown": shown["commonName"], "path": self.path}
        body = json.dumps({"kind": "Asked", "apiVersion": "gdp.test/v1", **asked}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def aggregated_port(controlplane):
    serving = controlplane.serving("asked", "kube-system")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=controlplane.front_proxy.authority)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(serving.certificate, serving.key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Aggregated) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_aggregated_api_is_asked_with_the_front_proxys_certificate(controlplane, aggregated_port):
    api = controlplane.api
    name = controlplane.aggregate("gdp.test", "v1", "asked", "kube-system", aggregated_port)
    path = f"/apis/apiregistration.k8s.io/v1/apiservices/{name}"

    def available(seen: dict) -> bool:
        conditions = seen.get("status", {}).get("conditions") or ()
        return any(condition["status"] == "True" for condition in conditions)

    api.until(path, available, 10, "the APIService is Available")
    answer = api.get("/apis/gdp.test/v1/things")
    assert answer["user"] == "admin"
    assert answer["shown"] == "front-proxy-client"
    assert answer["path"] == "/apis/gdp.test/v1/things"
    api.delete(path)


# ------------------------------------------------------------ pods


@WHOLE
def test_a_pod_is_bound_by_the_scheduler_and_runs(controlplane, kube_namespace):
    controlplane.add_nodes(2, "bind", gpus=1, labels={"for": "bind"})
    api, pods = controlplane.api, PODS.format(kube_namespace)
    api.create(pods, pod("one", nodeSelector={"for": "bind"}))
    seen = api.until(f"{pods}/one", lambda one: one["status"]["phase"] == "Running", 10, "it runs")
    assert seen["spec"]["nodeName"] in {"bind-0", "bind-1"}
    assert seen["status"]["podIP"]
    api.delete(f"{pods}/one")
    api.until(pods, lambda listed: not listed["items"], 10, "it is gone")


@WHOLE
def test_a_node_has_only_so_many_gpus(controlplane, kube_namespace):
    controlplane.add_nodes(1, "full", gpus=1, labels={"for": "full"})
    want = {"resources": {"limits": {"nvidia.com/gpu": "1"}}, "name": "main", "image": "none"}
    api, pods = controlplane.api, PODS.format(kube_namespace)
    for name in ("first", "second"):
        api.create(pods, pod(name, nodeSelector={"for": "full"}, containers=[want]))

    def one_waits(listed: dict) -> bool:
        states = {item["status"]["phase"]: item for item in listed["items"]}
        return set(states) == {"Running", "Pending"} and "conditions" in states["Pending"]["status"]

    listed = api.until(pods, one_waits, 10, "one runs, one waits")
    waiting = next(item for item in listed["items"] if item["status"]["phase"] == "Pending")
    assert "Insufficient nvidia.com/gpu" in waiting["status"]["conditions"][0]["message"]


@WHOLE
def test_a_gang_is_bound_whole_or_not_at_all(controlplane, kube_namespace):
    gangs_needed(controlplane)
    controlplane.add_nodes(1, "gang", gpus=1, labels={"for": "gang"})
    api, pods = controlplane.api, PODS.format(kube_namespace)
    group = f"/apis/scheduling.k8s.io/v1alpha2/namespaces/{kube_namespace}/podgroups"
    policy = {"schedulingPolicy": {"gang": {"minCount": 2}}}
    api.create(group, {"metadata": {"name": "pair"}, "spec": policy})
    want = {"resources": {"limits": {"nvidia.com/gpu": "1"}}, "name": "main", "image": "none"}
    for name in ("left", "right"):
        member = {"nodeSelector": {"for": "gang"}, "schedulingGroup": {"podGroupName": "pair"}}
        api.create(pods, pod(name, containers=[want], **member))

    def told(seen: dict) -> bool:
        conditions = seen.get("status", {}).get("conditions") or ()
        return any(condition["status"] == "False" for condition in conditions)

    api.until(f"{group}/pair", told, 10, "it says that it does not fit")
    assert not any("nodeName" in item["spec"] for item in api.get(pods)["items"])
    controlplane.add_nodes(1, "gang-more", gpus=1, labels={"for": "gang"})

    def both_run(listed: dict) -> bool:
        return [item["status"]["phase"] for item in listed["items"]] == ["Running"] * 2

    api.until(pods, both_run, 10, "both run")


@WHOLE
def test_a_deployment_becomes_ready(controlplane, kube_namespace):
    controlplane.add_nodes(1, "deploy", labels={"for": "deploy"})
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod("", nodeSelector={"for": "deploy"})["spec"]}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    path = f"/apis/apps/v1/namespaces/{kube_namespace}/deployments"
    controlplane.api.create(path, {"metadata": {"name": "web"}, "spec": spec})
    ready = 3
    controlplane.api.until(
        f"{path}/web", lambda web: web["status"].get("readyReplicas") == ready, 15, "all are ready"
    )


@WHOLE
def test_an_autoscaler_tells_that_nobody_serves_its_metric(controlplane, kube_namespace):
    api, group = controlplane.api, f"/apis/apps/v1/namespaces/{kube_namespace}"
    template = {"metadata": {"labels": {"app": "w"}}, "spec": pod("")["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    api.create(f"{group}/deployments", {"metadata": {"name": "w"}, "spec": spec})
    metric = {"metric": {"name": "queue_depth"}, "target": {"type": "AverageValue", "averageValue": "1"}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}
    metrics = [{"type": "External", "external": metric}]
    wanted = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 4, "metrics": metrics}
    path = f"/apis/autoscaling/v2/namespaces/{kube_namespace}/horizontalpodautoscalers"
    api.create(path, {"metadata": {"name": "w"}, "spec": wanted})

    def fails(seen: dict) -> bool:
        conditions = seen.get("status", {}).get("conditions") or ()
        return any(condition["reason"] == "FailedGetExternalMetric" for condition in conditions)

    api.until(f"{path}/w", fails, 15, "FailedGetExternalMetric")


# ------------------------------------------------------------ life and death

OWNER = """
    import json, sys, threading
    from grove_dp.testing.controlplane import ControlPlane
    plane = ControlPlane()
    starter = threading.Thread(target=plane.start)  # its end must not end what it started
    starter.start()
    starter.join()
    print(json.dumps({"folder": str(plane.folder), "pids": plane.pids}), flush=True)
    sys.stdin.read()
"""


def test_two_at_once_do_not_collide_one_restarts_alone_and_its_end_leaves_nothing(
    controlplane, kube_namespace, found, monkeypatch
):
    first, second = ([free_port() for _ in range(5)] for _ in range(2))
    first[0] = controlplane.place.etcd  # what looked free a moment ago is taken
    second[2] = controlplane.place.api_server
    ports = iter([*first, *second])
    monkeypatch.setattr(plane, "free_port", lambda: next(ports, None) or free_port())
    with ControlPlane(found=found) as other:
        other.namespace("kept")
        before = other.pids["kube-apiserver"]
        other.restart("kube-apiserver")
        assert other.api.call("GET", "/api/v1/namespaces/kept").status == 200
        assert gone({"kube-apiserver": before}, 0.0)
        pids, folder = other.pids, other.folder
        assert all(map(alive, pids.values()))
        assert other.api.get("/version") == controlplane.api.get("/version")
        assert other.api.call("GET", f"/api/v1/namespaces/{kube_namespace}").status == 404
        assert controlplane.api.call("GET", f"/api/v1/namespaces/{kube_namespace}").status == 200
    assert gone(pids, 0.0)
    assert not folder.exists()


def test_what_a_user_wrote_and_whether_it_was_accepted_is_in_the_audit_log(found):
    maps = "/api/v1/namespaces/default/configmaps"
    with ControlPlane(found=found, audit=True) as plane:
        api = plane.connect(plane.user("ada", "system:masters"))
        api.create(maps, {"metadata": {"name": "one"}})
        api.patch(f"{maps}/one", {"data": {"key": "word"}})
        api.get(f"{maps}/one")
        assert api.call("DELETE", f"{maps}/two").status == 404
        told = [write for write in plane.writes() if write.user == "ada"]
    assert [(write.verb, write.resource, write.name, write.done) for write in told] == [
        ("create", "configmaps", "one", True),
        ("patch", "configmaps", "one", True),
        ("delete", "configmaps", "two", False),
    ]


def test_an_owner_that_is_killed_takes_all_along_and_the_next_start_sweeps_its_folder():
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with owner:
        told = json.loads(owner.stdout.readline())
        assert not gone(told["pids"], 0.2)
        assert all(map(alive, told["pids"].values()))
        owner.send_signal(signal.SIGKILL)
    assert gone(told["pids"])
    assert Path(told["folder"]).exists()
    OwnedFolder().remove()
    assert not Path(told["folder"]).exists()


def test_a_folder_whose_owner_lives_is_not_swept():
    first = OwnedFolder()
    OwnedFolder().remove()
    assert first.path.exists()
    assert first.path.parent == base_folder()
    first.remove()


def test_by_hand_it_prints_a_kubeconfig_and_ends_cleanly_on_an_interrupt():
    command = [sys.executable, "-m", "grove_dp.testing.controlplane", "--nodes", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        kubeconfig = Path(process.stdout.readline().strip())
        told = process.stderr.readline()
        kubectl = [str(kubeconfig.parent / "bin" / "kubectl"), f"--kubeconfig={kubeconfig}"]
        while not Path(kubectl[0]).exists():  # made between the two lines
            time.sleep(0.01)
        nodes = subprocess.run([*kubectl, "get", "nodes", "-o", "name"], capture_output=True, text=True)
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert told.startswith("Kubernetes v1.")
    assert nodes.stdout.split() == ["node/node-0", "node/node-1"]
    assert process.returncode == 130
    assert not kubeconfig.exists()
