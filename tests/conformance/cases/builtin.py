"""Built-in kinds: what each is given when it is made."""

LABELS = {"app": "a"}
POD = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "m", "image": "i"}]}}


async def a_namespace_is_active_and_holds_what_is_in_it(calls):
    told = await calls.get(f"/api/v1/namespaces/{calls.namespace}")
    assert told.document["status"]["phase"] == "Active"
    assert told.document["spec"]["finalizers"] == ["kubernetes"]
    assert (await calls.post("/api/v1/namespaces", {"metadata": {"name": "a.b"}})).why == (422, "Invalid")


async def a_headless_service_put_again_is_not_written(calls):
    spec = {"clusterIP": "None", "selector": LABELS, "publishNotReadyAddresses": True}
    made = await calls.made(calls.path("services"), {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"]["clusterIPs"] == ["None"]
    told = await calls.put(calls.path("services", "a"), {"metadata": {"name": "a"}, "spec": spec})
    assert told.document["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    told = await calls.delete(calls.path("services", "a"))
    assert told.document["kind"] == "Service"


async def a_service_gets_an_address_that_stays(calls):
    spec = {"selector": LABELS, "ports": [{"port": 80}, {"name": "b", "port": 81, "targetPort": "http"}]}
    for port in spec["ports"]:
        port.setdefault("name", "a")
    told = await calls.call(
        "POST", calls.path("services"), {"metadata": {"name": "a"}, "spec": spec}, keep=False
    )
    assert told.document["spec"]["ports"] == [
        {"name": "a", "protocol": "TCP", "port": 80, "targetPort": 80},
        {"name": "b", "protocol": "TCP", "port": 81, "targetPort": "http"},
    ]
    assert told.document["spec"]["clusterIP"].startswith("10.0.0.")
    address = told.document["spec"]["clusterIP"]
    told = await calls.call(
        "PATCH",
        calls.path("services", "a"),
        {"spec": {"selector": {"b": "c"}}},
        "application/merge-patch+json",
        keep=False,
    )
    assert told.document["spec"]["clusterIP"] == address


async def services_have_names_of_hosts(calls):
    told = await calls.post(
        calls.path("services"), {"metadata": {"name": "a.b"}, "spec": {"clusterIP": "None"}}
    )
    assert told.why == (422, "Invalid")
    long = {"metadata": {"name": "a" * 64}, "spec": {"clusterIP": "None"}}
    assert (await calls.post(calls.path("services"), long)).why == (422, "Invalid")


async def a_secret_keeps_its_text_encoded(calls):
    made = await calls.made(calls.path("secrets"), {"metadata": {"name": "a"}, "data": {"k": "dg=="}})
    assert made["type"] == "Opaque"
    told = await calls.call(
        "POST", calls.path("secrets"), {"metadata": {"name": "b"}, "stringData": {"k": "v"}}
    )
    assert told.document["data"] == {"k": "dg=="}


async def accounts_roles_and_bindings_are_kept_as_given(calls):
    await calls.made(calls.path("serviceaccounts"), {"metadata": {"name": "a"}})
    rbac = "rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    await calls.made(calls.path("roles", group=rbac), {"metadata": {"name": "a:b"}, "rules": rules})
    binding = {
        "metadata": {"name": "a:b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a:b"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": calls.namespace}],
    }
    await calls.made(calls.path("rolebindings", group=rbac), binding)


async def a_lease_is_taken_by_a_patch_and_not_by_an_old_put(calls):
    path = calls.path("leases", group="coordination.k8s.io/v1")
    spec = {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-02T03:04:05.000000Z",
        "renewTime": "2026-01-02T03:04:05.000000Z",
        "leaseTransitions": 0,
    }
    made = await calls.made(path, {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"] == spec
    told = await calls.merge(f"{path}/a", {"spec": {"holderIdentity": "b"}})
    assert told.document["spec"] == {**spec, "holderIdentity": "b"}
    made["spec"]["holderIdentity"] = "c"
    assert (await calls.put(f"{path}/a", made)).why == (409, "Conflict")


async def a_deployment_selects_its_own_pods(calls):
    path = calls.path("deployments", group="apps/v1")
    spec = {"replicas": 0, "paused": True, "selector": {"matchLabels": LABELS}, "template": POD}
    made = await calls.made(path, {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": "25%", "maxSurge": "25%"}
    wrong = {**spec, "selector": {"matchLabels": {"app": "b"}}}
    told = await calls.call("POST", path, {"metadata": {"name": "b"}, "spec": wrong}, keep=False)
    assert told.causes == [("FieldValueInvalid", "spec.template.metadata.labels")]


async def a_replica_set_counts_its_generations(calls):
    path = calls.path("replicasets", group="apps/v1")
    spec = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": POD}
    made = await calls.made(path, {"metadata": {"name": "a"}, "spec": spec})
    assert made["metadata"]["generation"] == 1


async def an_autoscaler_looks_at_cpu_by_default(calls):
    path = calls.path("horizontalpodautoscalers", group="autoscaling/v2")
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}
    document = {"metadata": {"name": "a"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}}
    told = await calls.call("POST", path, document, keep=False)
    assert told.document["spec"]["minReplicas"] == 1
    assert told.document["spec"]["metrics"][0]["resource"]["target"] == {
        "type": "Utilization",
        "averageUtilization": 80,
    }


async def events_of_both_groups_are_the_same_objects(calls):
    old = {
        "metadata": {"name": "a"},
        "involvedObject": {"kind": "Pod", "namespace": calls.namespace, "name": "p", "apiVersion": "v1"},
        "reason": "Placed",
        "message": "words",
        "type": "Normal",
        "source": {"component": "c"},
        "firstTimestamp": "2026-01-02T03:04:05Z",
        "lastTimestamp": "2026-01-02T03:04:05Z",
        "count": 2,
    }
    await calls.made(calls.path("events"), old)
    path = calls.path("events", group="events.k8s.io/v1")
    found = (await calls.call("GET", f"{path}/a", keep=False)).document
    assert found["note"] == "words"
    assert found["regarding"]["name"] == "p"
    assert found["deprecatedCount"] == 2
    new = {
        "metadata": {"name": "b"},
        "regarding": {"kind": "Pod", "namespace": calls.namespace, "name": "p", "apiVersion": "v1"},
        "reason": "Placed",
        "note": "other words",
        "type": "Warning",
        "action": "Place",
        "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingController": "t.test/c",
        "reportingInstance": "c-1",
    }
    await calls.made(path, new)
    found = (await calls.call("GET", f"{calls.path('events')}/b", keep=False)).document
    assert found["message"] == "other words"
    assert found["involvedObject"]["name"] == "p"
    assert await calls.names(calls.path("events"), fieldSelector="involvedObject.name=p,type=Warning") == [
        "b"
    ]


async def nodes_keep_the_status_they_come_with(calls):
    name = f"{calls.namespace}-node"
    status = {"allocatable": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}
    document = {"metadata": {"name": name}, "spec": {"unschedulable": True}, "status": status}
    told = await calls.call("POST", "/api/v1/nodes", document, keep=False)
    assert told.document["status"]["allocatable"] == {"cpu": "4"}
    path = f"/api/v1/nodes/{name}"
    merge = "application/merge-patch+json"
    told = await calls.call("PATCH", path, {"status": {"allocatable": {"cpu": "9"}}}, merge, keep=False)
    assert told.document["status"]["allocatable"] == {"cpu": "4"}
    told = await calls.call(
        "PATCH", f"{path}/status", {"status": {"allocatable": {"cpu": "9"}}}, merge, keep=False
    )
    assert told.document["status"]["allocatable"] == {"cpu": "9"}
    assert name in await calls.names("/api/v1/nodes", fieldSelector="spec.unschedulable=true")
    await calls.call("DELETE", path, keep=False)
