"""What is installed for the operator: as files, as a command prints it, and at work in a real cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from urllib.request import urlopen

import pytest
import yaml
from grove_operator.admission.registration import DEFAULTING, VALIDATING, VALIDATING_TOPOLOGY
from grove_operator.api import BINDINGS, NODES, POD_GROUPS, PODS, SETS
from grove_operator.install import HERE, Install, cluster_rules, documents, files, own_rules, to_yaml
from grove_operator.settings import OPERATOR
from grove_operator.watching import COMMON, PLACED

from grove_dp.cli import main as cli
from grove_dp.testing.controlplane.api import ApiRefused
from tests.operator.admission_documents import clique

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
HOOKS = (
    f"{ADMISSION}/mutatingwebhookconfigurations/{DEFAULTING}",
    f"{ADMISSION}/validatingwebhookconfigurations/{VALIDATING}",
    f"{ADMISSION}/validatingwebhookconfigurations/{VALIDATING_TOPOLOGY}",
)


def named(document):
    return document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"]


def container(to):
    (deployment,) = (each for each in documents(to) if each["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("name", files(Install()))
def test_the_files_are_as_they_would_be_written_now(name):
    assert (HERE / name).read_text() == files(Install())[name], "python -m grove_operator.install"


def test_the_command_prints_everything(capsys):
    words = ["manifests", "operator", "--image", "grove-dp:9", "--namespace", "ml", "--arg=--workers=4"]
    assert cli.main(words) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert printed == documents(Install(namespace="ml", image="grove-dp:9", args=("--workers=4",)))
    kinds = [each["kind"] for each in printed]
    assert kinds.count("CustomResourceDefinition") == 5
    assert kinds[5:] == [
        "Namespace",
        *("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
        *("Service", "Deployment", "PodDisruptionBudget"),
    ]


def test_other_parts_still_need_frontends(capsys):
    assert cli.main(["manifests", "autoscale", "--image", "x"]) == 2
    assert "--frontends-dns" in capsys.readouterr().err


def test_no_right_is_for_everything():
    for rule in [*cluster_rules(), *own_rules(Install())]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


@pytest.mark.parametrize(
    "kind", [*COMMON, *PLACED, *POD_GROUPS, PODS], ids=lambda kind: kind.group + kind.plural
)
def test_what_is_made_may_be_seen_made_changed_and_deleted(kind):
    assert may(kind) >= {"get", "list", "watch", "create", "patch", "delete"}


@pytest.mark.parametrize("kind", [SETS, BINDINGS, NODES], ids=lambda kind: kind.plural)
def test_what_is_only_read_may_be_seen_and_neither_made_nor_deleted(kind):
    assert {"get", "list", "watch"} <= may(kind) <= {"get", "list", "watch", "patch"}


def may(kind):
    """Verbs of the operator in all namespaces, whatever the object's name."""
    return {
        verb
        for rule in cluster_rules()
        if kind.group in rule["apiGroups"]
        and kind.plural in rule["resources"]
        and "resourceNames" not in rule
        for verb in rule["verbs"]
    }


def test_the_container_has_no_more_than_it_needs():
    made = container(Install())
    security = made["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert made["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert made["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("to", [Install(), Install(cert_manager_issuer="ours", name="other")])
def test_its_arguments_are_ones_that_the_operator_takes(to, monkeypatch):
    taken = []
    monkeypatch.setattr("grove_dp.cli.operator.run", lambda args: taken.append(args) or 0)
    assert cli.main(container(to)["args"]) == 0
    from grove_dp.config import read

    settings, _ = read(OPERATOR, taken[0], {})
    assert settings.webhooks.service == to.name
    assert settings.webhooks.secret == to.place.secret
    assert (settings.webhooks.cert_dir is None) == (to.cert_manager_issuer is None)


def test_cert_manager_makes_what_the_operator_reads():
    to = Install(cert_manager_issuer="ours")
    (certificate,) = (each for each in documents(to) if each["kind"] == "Certificate")
    assert certificate["spec"]["secretName"] == to.place.secret
    assert "grove-operator.grove-dp.svc" in certificate["spec"]["dnsNames"]
    words = container(to)["args"]
    assert words[words.index("--webhooks.inject_ca_from") + 1] == "grove-dp/grove-operator"


# ------------------------------------------------------------ in a real cluster


def test_kustomize_builds_the_same(controlplane):
    built = controlplane.kubectl("kustomize", str(HERE)).stdout
    there = {named(each): each for each in yaml.safe_load_all(built)}
    assert there == {named(each): each for each in documents(Install())}


class Running:
    """`grove-dp operator` as a process, and what it says."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "grove_dp", "operator", *words],
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "KUBECONFIG"},
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self._reader.join()
        self.process.stderr.close()
        return code


@pytest.fixture
def installed(controlplane, kube_namespace, tmp_path):
    """Everything but the pod itself; forgotten afterwards."""
    to = Install(namespace=kube_namespace, name=f"operator-{kube_namespace}")
    file = tmp_path / "install.yaml"
    file.write_text(to_yaml(documents(to)))
    controlplane.kubectl("apply", "--server-side", "--validate=strict", "-f", str(file))
    try:
        yield to
    finally:
        for kind in ("clusterroles", "clusterrolebindings"):
            controlplane.api.delete(f"/apis/rbac.authorization.k8s.io/v1/{kind}/{to.name}")
        for path in HOOKS:
            with contextlib.suppress(ApiRefused):
                controlplane.api.delete(path)


def test_the_api_server_takes_all_of_it(controlplane, installed):
    deployment = f"/apis/apps/v1/namespaces/{installed.namespace}/deployments/{installed.name}"
    assert controlplane.api.get(deployment)["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
    controlplane.kubectl("delete", "-n", installed.namespace, "deployment", installed.name)


@pytest.mark.controlplane("kube-scheduler", "kube-controller-manager")
def test_with_these_rights_and_no_others_a_set_runs_and_goes(
    controlplane, installed, kube_namespace, unused_tcp_port_factory
):
    controlplane.add_nodes(1, f"n-{kube_namespace}", labels={"for": kube_namespace})
    account = controlplane.service_account(kube_namespace, installed.name)
    hooks, health = unused_tcp_port_factory(), unused_tcp_port_factory()
    running = Running(
        *("--kubeconfig", str(account.kubeconfig), "--watch-namespace", kube_namespace),
        *("--webhook-port", str(hooks), "--webhook-url", f"https://127.0.0.1:{hooks}"),
        *("--webhooks.namespace", kube_namespace, "--leader.namespace", kube_namespace),
        *("--health-port", str(health), "--order.by", "init", "--order.image", "grove-dp:1"),
        *("--leader.duration_s", "6", "--leader.deadline_s", "1", "--leader.retry_s", "0.2"),
    )
    sets = f"/apis/grove.io/v1alpha1/namespaces/{kube_namespace}/podcliquesets"
    pods = f"/api/v1/namespaces/{kube_namespace}/pods?labelSelector=app.kubernetes.io/part-of%3Dweb"
    try:
        for path in HOOKS:
            until_there(controlplane, path, running)
        controlplane.api.create(sets, ordered_set(kube_namespace))
        stored = controlplane.api.get(f"{sets}/web")
        controlplane.api.until(pods, all_ready(3), 30, "its pods run")
        until_told(health, 'grove_dp_operator_gangs{state="Running"} 2.0')
        controlplane.kubectl("delete", "-n", kube_namespace, "pcs", "web", "--timeout=30s")
        controlplane.api.until(pods, lambda found: not found["items"], 30, "its pods are gone")
        figures = until_told(health, "grove_dp_operator_leader 1.0")
    finally:
        code = running.end()
    told = "".join(running.lines)
    assert code == 0, told
    assert 'outcome="Forbidden"' not in figures
    assert "403" not in told
    assert "forbidden" not in told.lower()
    assert stored["spec"]["template"]["terminationDelay"] == "4h0m0s"


def until_there(controlplane, path, running):
    deadline = time.monotonic() + 30
    while controlplane.api.call("GET", path).status != 200:
        assert time.monotonic() < deadline, (path, running.lines)
        time.sleep(0.1)


def until_told(health, line):
    """The figures, once *line* is among them."""
    deadline = time.monotonic() + 20
    while True:
        with urlopen(f"http://127.0.0.1:{health}/metrics", timeout=10) as answer:
            figures = answer.read().decode()
        if line in figures:
            return figures
        assert time.monotonic() < deadline, figures
        time.sleep(0.1)


def all_ready(number):
    def good(found):
        conditions = [
            {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
            for pod in found["items"]
        ]
        return [each.get("Ready") for each in conditions] == ["True"] * number

    return good


def ordered_set(namespace):
    """A group that scales by itself, after a clique that stands alone: every kind of object."""
    spec = {
        "containers": [{"name": "main", "image": "engine:1"}],
        "nodeSelector": {"for": namespace},
    }
    first = clique("first", podSpec=spec, replicas=1, minAvailable=1)
    first["spec"]["autoScalingConfig"] = {"maxReplicas": 2}
    return {
        "apiVersion": "grove.io/v1alpha1",
        "kind": "PodCliqueSet",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": 1,
            "template": {
                "cliqueStartupType": "CliqueStartupTypeInOrder",
                "cliques": [first, clique("then", podSpec=spec, replicas=1)],
                "podCliqueScalingGroups": [{"name": "g", "cliqueNames": ["then"], "replicas": 2}],
            },
        },
    }
