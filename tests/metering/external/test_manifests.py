"""What is installed: names agree, rights are few, and nobody's APIService is taken."""

import pytest
import yaml

from grove_dp.kube.errors import ApiError
from grove_dp.metering.external.manifests import Install, documents, install, to_yaml
from grove_dp.metering.external.registration import APISERVICE_PATH, ForeignApiService, check_free
from tests.metering.external.objects import Objects


def by_kind(all_documents, kind):
    return [each for each in all_documents if each["kind"] == kind]


def foreign():
    labels = {"app.kubernetes.io/part-of": "keda-operator"}
    service = {"namespace": "keda", "name": "keda-operator-metrics-apiserver", "port": 443}
    return {"metadata": {"labels": labels}, "spec": {"service": service}}


def test_yaml_says_the_same():
    made = documents(Install())
    assert list(yaml.safe_load_all(to_yaml(made))) == made


def test_names_agree():
    made = documents(Install(namespace="ns", name="adapter"))
    (service,), (deployment,) = by_kind(made, "Service"), by_kind(made, "Deployment")
    (registration,) = by_kind(made, "APIService")
    assert registration["spec"]["service"] == {"namespace": "ns", "name": "adapter", "port": 443}
    assert service["metadata"]["name"] == "adapter"
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    (container,) = template["spec"]["containers"]
    assert container["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"] == "https"
    assert {"--namespace", "ns", "--service", "adapter", "--secret", "adapter-tls"} <= set(container["args"])
    accounts = {(each["namespace"], each["name"]) for binding in made for each in binding.get("subjects", [])}
    assert accounts == {("ns", "adapter"), ("kube-system", "horizontal-pod-autoscaler")}
    assert "caBundle" not in registration["spec"]  # ours to write; applying again must not take it away


def test_every_role_that_is_bound_exists():
    made = documents(Install())
    roles = {each["metadata"]["name"] for kind in ("Role", "ClusterRole") for each in by_kind(made, kind)}
    bound = {each["roleRef"]["name"] for each in made if "roleRef" in each}
    assert bound - roles == {"system:auth-delegator", "extension-apiserver-authentication-reader"}


def test_our_own_rights_are_few():
    made = documents(Install())
    rules = [rule for each in by_kind(made, "Role") + by_kind(made, "ClusterRole") for rule in each["rules"]]
    writes = [rule for rule in rules if set(rule["verbs"]) - {"get", "list"}]
    assert [(rule["resources"], rule["verbs"], rule.get("resourceNames")) for rule in writes] == [
        (["secrets"], ["get", "patch"], ["grove-dp-metrics-adapter-tls"]),
        (["secrets"], ["create"], None),
        (["apiservices"], ["get", "patch"], ["v1beta1.external.metrics.k8s.io"]),
    ]


def test_with_cert_manager_we_may_write_nothing():
    made = documents(Install(cert_manager_issuer="ca"))
    (certificate,), (registration,) = by_kind(made, "Certificate"), by_kind(made, "APIService")
    assert certificate["spec"]["dnsNames"][0] == "grove-dp-metrics-adapter.grove-dp.svc"
    assert registration["metadata"]["annotations"] == {
        "cert-manager.io/inject-ca-from": "grove-dp/grove-dp-metrics-adapter"
    }
    rules = [
        rule for kind in ("Role", "ClusterRole") for each in by_kind(made, kind) for rule in each["rules"]
    ]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list"}
    (deployment,) = by_kind(made, "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    args, mount = spec["containers"][0]["args"], spec["containers"][0]["volumeMounts"][0]
    assert args[args.index("--tls-cert-file") + 1] == mount["mountPath"] + "/tls.crt"
    assert "--secret" not in args


async def test_installing_applies_all_in_order():
    objects = Objects()
    applied = await install(objects, Install(namespace="ns", name="adapter"))
    assert applied[0] == "ServiceAccount adapter"
    assert applied[-1] == "APIService v1beta1.external.metrics.k8s.io"
    paths = [path for _, path in objects.writes]
    assert "/api/v1/namespaces/ns/services/adapter" in paths
    assert "/apis/apps/v1/namespaces/ns/deployments/adapter" in paths
    assert "/apis/policy/v1/namespaces/ns/poddisruptionbudgets/adapter" in paths
    assert (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/adapter:authentication-reader"
        in paths
    )
    assert paths[-1] == APISERVICE_PATH
    again = await install(objects, Install(namespace="ns", name="adapter"))
    assert again == applied


async def test_somebody_elses_apiservice_stops_the_installation_before_anything_is_written():
    objects = Objects()
    objects.put(APISERVICE_PATH, foreign())
    with pytest.raises(ForeignApiService) as refused:
        await install(objects, Install())
    assert objects.writes == []
    said = str(refused.value)
    assert "leads to keda/keda-operator-metrics-apiserver (of keda-operator)" in said
    assert "/keda/v1/NAMESPACE/TARGET" in said
    assert (refused.value.reason, refused.value.exit_code) == ("ForeignApiService", 1)


async def test_our_own_apiservice_of_another_namespace_is_foreign_too():
    objects = Objects()
    await install(objects, Install(namespace="one"))
    with pytest.raises(ForeignApiService, match="leads to one/"):
        await install(objects, Install(namespace="two"))


async def test_a_built_in_apiservice_is_foreign():
    objects = Objects()
    objects.put(APISERVICE_PATH, {"metadata": {}, "spec": {"service": None}})
    with pytest.raises(ForeignApiService):
        await check_free(objects, "ns", "adapter")


async def test_not_being_allowed_to_look_is_an_error():
    class Closed(Objects):
        async def get(self, path, **_):
            raise ApiError(f"GET {path}", 403, "Forbidden", "no")

    with pytest.raises(ApiError):
        await install(Closed(), Install())
