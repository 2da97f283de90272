"""Pods: what may change once they are made, and the three things more that may while they are gated."""

import copy

GATES = [{"name": "t.test/a"}, {"name": "t.test/b"}]
AFFINITY = "requiredDuringSchedulingIgnoredDuringExecution"


def pod(name="a", **spec):
    containers = [{"name": "m", "image": "i:1"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, "schedulingGates": GATES, **spec}}


def affinity(*terms):
    return {"nodeAffinity": {AFFINITY: {"nodeSelectorTerms": list(terms)}}}


def term(*expressions):
    return {
        "matchExpressions": [{"key": key, "operator": "In", "values": values} for key, values in expressions]
    }


async def a_gated_pod_waits_and_says_so(calls):
    made = await calls.made(calls.pods(), pod())
    assert made["status"]["phase"] == "Pending"
    (condition,) = made["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "SchedulingGated",
    )
    assert made["metadata"]["generation"] == 1


async def gates_can_go_one_by_one_and_all_at_once(calls):
    await calls.made(calls.pods(), pod())
    told = await calls.merge(calls.pods("a"), {"spec": {"schedulingGates": [GATES[1]]}})
    assert told.document["spec"]["schedulingGates"] == [GATES[1]]
    assert told.document["metadata"]["generation"] == 2
    told = await calls.merge(calls.pods("a"), {"spec": {"nodeSelector": {"t.test/none": "x"}}})
    assert told.status == 200
    told = await calls.merge(calls.pods("a"), {"spec": {"schedulingGates": None}})
    assert "schedulingGates" not in told.document["spec"]


async def an_empty_list_of_gates_is_none(calls):
    await calls.made(calls.pods(), pod(nodeSelector={"t.test/none": "x"}))
    told = await calls.merge(calls.pods("a"), {"spec": {"schedulingGates": []}})
    assert "schedulingGates" not in told.document["spec"]


async def gates_cannot_be_added(calls):
    await calls.made(calls.pods(), pod())
    told = await calls.merge(calls.pods("a"), {"spec": {"schedulingGates": [*GATES, {"name": "t.test/c"}]}})
    assert told.causes == [("FieldValueForbidden", "spec.schedulingGates[2].name")]
    await calls.made(calls.pods(), pod("b", schedulingGates=[], nodeSelector={"t.test/none": "x"}))
    told = await calls.merge(calls.pods("b"), {"spec": {"schedulingGates": GATES[:1]}})
    assert told.causes == [("FieldValueForbidden", "spec.schedulingGates[0].name")]


async def a_gated_pod_has_no_node(calls):
    told = await calls.post(calls.pods(), pod(nodeName="lost-a"))
    assert told.causes == [("FieldValueForbidden", "spec.nodeName")]
    await calls.made(calls.pods(), pod())
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "lost-a"}}
    assert (await calls.post(calls.pods("a", "binding"), binding)).why == (409, "Conflict")


async def node_selectors_can_only_grow_while_gated(calls):
    await calls.made(calls.pods(), pod(nodeSelector={"a": "1"}))
    told = await calls.merge(calls.pods("a"), {"spec": {"nodeSelector": {"b": "2"}}})
    assert told.document["spec"]["nodeSelector"] == {"a": "1", "b": "2"}
    for change in ({"a": None}, {"a": "3"}):
        told = await calls.merge(calls.pods("a"), {"spec": {"nodeSelector": change}})
        assert told.causes == [("FieldValueInvalid", "spec.nodeSelector")]


async def node_affinity_can_be_set_while_gated(calls):
    await calls.made(calls.pods(), pod())
    wanted = affinity(term(("kubernetes.io/hostname", ["n1"])))
    told = await calls.merge(calls.pods("a"), {"spec": {"affinity": wanted}})
    assert told.document["spec"]["affinity"] == wanted
    assert told.document["metadata"]["generation"] == 2


async def terms_are_fixed_once_there_are_any(calls):
    await calls.made(calls.pods(), pod(affinity=affinity(term(("a", ["1"])))))
    path = f"spec.affinity.nodeAffinity.{AFFINITY}.nodeSelectorTerms"
    for terms in ((term(("a", ["1"])), term(("b", ["1"]))), ()):
        told = await calls.call(
            "PATCH",
            calls.pods("a"),
            {"spec": {"affinity": affinity(*terms)}},
            "application/merge-patch+json",
            keep=False,
        )
        assert told.status == 422
        assert ("FieldValueInvalid", path) in told.causes or not terms


async def expressions_can_only_be_added_while_gated(calls):
    await calls.made(calls.pods(), pod(affinity=affinity(term(("a", ["1"])))))
    grown = affinity(term(("a", ["1"]), ("kubernetes.io/hostname", ["n1"])))
    told = await calls.merge(calls.pods("a"), {"spec": {"affinity": grown}})
    assert told.document["spec"]["affinity"] == grown
    path = f"spec.affinity.nodeAffinity.{AFFINITY}.nodeSelectorTerms[0]"
    for changed in (
        term(("a", ["2"]), ("kubernetes.io/hostname", ["n1"])),
        term(("kubernetes.io/hostname", ["n1"])),
    ):
        patch = {"spec": {"affinity": affinity(changed)}}
        told = await calls.call("PATCH", calls.pods("a"), patch, "application/merge-patch+json", keep=False)
        assert told.causes == [("FieldValueInvalid", path)]


async def pinning_and_ungating_fit_into_one_patch(calls):
    await calls.made(calls.pods(), pod())
    pinned = affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["none"]}]})
    told = await calls.merge(calls.pods("a"), {"spec": {"affinity": pinned, "schedulingGates": None}})
    assert told.status == 200
    assert told.document["spec"]["affinity"] == pinned


async def none_of_it_may_change_any_more_without_gates(calls):
    selector = {"t.test/none": "x"}
    await calls.made(calls.pods(), pod(schedulingGates=None, nodeSelector=selector))
    for change in ({"nodeSelector": {"b": "2"}}, {"affinity": affinity(term(("a", ["1"])))}):
        told = await calls.call(
            "PATCH", calls.pods("a"), {"spec": change}, "application/merge-patch+json", keep=False
        )
        assert told.why == (422, "Invalid")
        assert told.causes == [("FieldValueForbidden", "spec")]


async def the_rest_of_the_spec_is_fixed_even_while_gated(calls):
    await calls.made(calls.pods(), pod())
    for change in (
        {"restartPolicy": "Never"},
        {"priority": 5},
        {"hostname": "h"},
        {"terminationGracePeriodSeconds": 5},
        {
            "affinity": {
                "podAffinity": {
                    AFFINITY: [{"topologyKey": "k", "labelSelector": {"matchLabels": {"a": "b"}}}]
                }
            }
        },
    ):
        told = await calls.call(
            "PATCH", calls.pods("a"), {"spec": change}, "application/merge-patch+json", keep=False
        )
        assert told.why == (422, "Invalid"), change
        assert told.causes == [("FieldValueForbidden", "spec")], change


async def images_may_change(calls):
    made = await calls.made(calls.pods(), pod())
    containers = copy.deepcopy(made["spec"]["containers"])
    containers[0]["image"] = "i:2"
    told = await calls.operate(
        calls.pods("a"), {"op": "replace", "path": "/spec/containers/0/image", "value": "i:2"}
    )
    assert told.document["spec"]["containers"] == containers
    assert told.document["metadata"]["generation"] == 2


async def containers_cannot_be_added(calls):
    await calls.made(calls.pods(), pod())
    added = {"op": "add", "path": "/spec/containers/-", "value": {"name": "n", "image": "i"}}
    assert (await calls.operate(calls.pods("a"), added)).causes == [
        ("FieldValueForbidden", "spec.containers")
    ]


async def tolerations_can_only_be_added(calls):
    made = await calls.made(calls.pods(), pod(tolerations=[{"key": "a", "operator": "Exists"}]))
    tolerations = made["spec"]["tolerations"]
    more = [*tolerations, {"key": "b", "operator": "Exists", "effect": "NoSchedule"}]
    assert (await calls.merge(calls.pods("a"), {"spec": {"tolerations": more}})).status == 200
    told = await calls.merge(calls.pods("a"), {"spec": {"tolerations": more[1:]}})
    assert told.causes == [("FieldValueForbidden", "spec.tolerations")]


async def labels_and_annotations_do_not_count_as_generations(calls):
    await calls.made(calls.pods(), pod())
    told = await calls.merge(calls.pods("a"), {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}})
    assert told.document["metadata"]["generation"] == 1


async def the_status_is_not_changed_through_the_pod(calls):
    await calls.made(calls.pods(), pod())
    told = await calls.merge(calls.pods("a"), {"status": {"phase": "Running"}})
    assert told.status == 200
    assert told.document["status"]["phase"] == "Pending"


async def the_pod_is_not_changed_through_the_status(calls):
    await calls.made(calls.pods(), pod())
    told = await calls.merge(
        calls.pods("a", "status"),
        {
            "spec": {"schedulingGates": None},
            "status": {"phase": "Running", "podIP": "10.1.1.1", "podIPs": [{"ip": "10.1.1.1"}]},
        },
    )
    assert told.status == 200
    assert told.document["status"]["phase"] == "Running"
    assert told.document["status"]["qosClass"] == "BestEffort"
    assert told.document["spec"]["schedulingGates"] == GATES
    assert told.document["metadata"]["generation"] == 1


async def a_pod_needs_containers_with_names_and_images(calls):
    told = await calls.post(calls.pods(), {"metadata": {"name": "a"}, "spec": {"containers": []}})
    assert told.causes == [("FieldValueRequired", "spec.containers")]
    told = await calls.post(
        calls.pods(), {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "m"}]}}
    )
    assert told.causes == [("FieldValueRequired", "spec.containers[0].image")]


async def a_pod_has_many_defaults(calls):
    container = {
        "name": "m",
        "image": "registry.test:5000/team/engine",
        "ports": [{"name": "http", "containerPort": 8000}],
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"httpGet": {"port": "http"}},
        "resources": {"limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    }
    init = {"name": "i", "image": "wait:v1", "command": ["wait"]}
    volumes = [{"name": "s", "secret": {"secretName": "s"}}, {"name": "e", "emptyDir": {}}]
    made = await calls.made(calls.pods(), pod(containers=[container], initContainers=[init], volumes=volumes))
    assert made["status"]["qosClass"] == "Burstable"


async def a_guaranteed_pod_is_one(calls):
    limits = {"cpu": "2", "memory": "1Gi"}
    containers = [{"name": "m", "image": "i", "resources": {"limits": limits}}]
    assert (await calls.made(calls.pods(), pod(containers=containers)))["status"]["qosClass"] == "Guaranteed"
