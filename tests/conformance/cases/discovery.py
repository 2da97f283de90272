"""What a client may ask about the server itself."""

SERVED = {
    "/api/v1": {"pods", "pods/status", "nodes", "services", "configmaps", "secrets", "namespaces", "events"},
    "/apis/apps/v1": {"deployments", "deployments/scale", "replicasets"},
    "/apis/coordination.k8s.io/v1": {"leases"},
    "/apis/autoscaling/v2": {"horizontalpodautoscalers"},
    "/apis/apiextensions.k8s.io/v1": {"customresourcedefinitions"},
    "/apis/rbac.authorization.k8s.io/v1": {"roles", "rolebindings"},
}


async def kinds_are_told_by_group_and_version(calls):
    for path, names in SERVED.items():
        told = await calls.call("GET", path, keep=False)
        assert told.document["kind"] == "APIResourceList"
        assert told.document["groupVersion"] == path.removeprefix("/apis/").removeprefix("/api/")
        assert names <= {resource["name"] for resource in told.document["resources"]}


async def groups_are_told(calls):
    told = await calls.call("GET", "/apis", keep=False)
    assert told.document["kind"] == "APIGroupList"
    groups = {group["name"]: group for group in told.document["groups"]}
    assert {"apps", "autoscaling", "coordination.k8s.io", "events.k8s.io"} <= set(groups)
    assert groups["apps"]["preferredVersion"]["groupVersion"] == "apps/v1"
    told = await calls.call("GET", "/apis/apps", keep=False)
    assert told.document["kind"] == "APIGroup"
    assert (await calls.call("GET", "/apis/nothing.test", keep=False)).status == 404
    assert (await calls.call("GET", "/apis/nothing.test/v1", keep=False)).status == 404


async def its_version_and_health_can_be_asked(calls):
    assert (await calls.call("GET", "/api", keep=False)).document["versions"] == ["v1"]
    assert (await calls.call("GET", "/version", keep=False)).document["major"] == "1"
    for path in ("/readyz", "/livez"):
        assert (await calls.call("GET", path, keep=False)).document["text"] == "ok"
