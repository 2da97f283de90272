"""Grove's kinds as the operator reads them."""

import msgspec
from grove_operator import api
from grove_operator.api import ClusterTopologyBinding, PodCliqueSet, PodGang

DOCUMENT = b"""{
  "apiVersion": "grove.io/v1alpha1", "kind": "PodCliqueSet", "x-unknown": [1],
  "metadata": {"name": "llm", "namespace": "ml", "uid": "u", "labels": {"team": "a"}},
  "spec": {"replicas": 2, "updateStrategy": {"type": "OnDelete"}, "template": {
    "cliqueStartupType": "CliqueStartupTypeExplicit", "priorityClassName": "high", "terminationDelay": "4h",
    "headlessServiceConfig": {"publishNotReadyAddresses": false},
    "topologyConstraint": {"topologyName": "t", "pack": {"required": "rack", "preferred": "host"}},
    "cliques": [
      {"name": "a", "labels": {"l": "1"}, "annotations": {"n": "2"},
       "topologyConstraint": {"packDomain": "zone"},
       "spec": {"roleName": "ra", "replicas": 3, "minAvailable": 2, "startsAfter": ["b"],
                "autoScalingConfig": {"minReplicas": 2, "maxReplicas": 5, "metrics": [{"type": "Resource"}]},
                "podSpec": {"containers": [{"name": "m", "image": "i", "x-new-in-1.40": {"deep": [1, 2]}}]}}},
      {"name": "b", "spec": {"roleName": "rb", "replicas": 4, "podSpec": {}}}],
    "podCliqueScalingGroups": [{"name": "g", "cliqueNames": ["b"],
       "scaleConfig": {"maxReplicas": 6}, "resourceSharing": [{"name": "c", "scope": "PerReplica"}]}]}},
  "status": {"observedGeneration": 3, "currentGenerationHash": "h",
             "updateProgress": {"updateStartedAt": "t0", "currentlyUpdating": [{"replicaIndex": 1}]}}}"""


def test_a_set_is_read_with_all_that_plans_need():
    held = msgspec.json.decode(DOCUMENT, type=PodCliqueSet)
    template = held.spec.template
    first, second = template.cliques
    assert (held.spec.replicas, held.spec.update_strategy.type) == (2, "OnDelete")
    assert (template.order, template.priority_class_name) == (api.EXPLICIT, "high")
    assert not template.headless_service_config.publish_not_ready_addresses
    assert (template.topology_constraint.required, template.topology_constraint.preferred) == ("rack", "host")
    assert (first.topology_constraint.required, first.topology_constraint.preferred) == ("zone", None)
    assert (first.labels, first.annotations) == ({"l": "1"}, {"n": "2"})
    assert (first.spec.min_available, first.spec.starts_after) == (2, ("b",))
    assert first.spec.auto_scaling_config.metrics == ({"type": "Resource"},)
    assert template.groups[0].scale_config.max_replicas == 6
    assert template.groups[0].resource_sharing[0].scope == "PerReplica"
    assert template.group_of("b") is template.groups[0]
    assert template.group_of("a") is None
    assert template.clique("b") is second
    assert held.status.update_progress.currently_updating[0].replica_index == 1


def test_nothing_of_a_pod_spec_is_lost():
    held = msgspec.json.decode(DOCUMENT, type=PodCliqueSet)
    assert held.spec.template.cliques[0].spec.pod_spec == {
        "containers": [{"name": "m", "image": "i", "x-new-in-1.40": {"deep": [1, 2]}}]
    }


def test_what_no_webhook_has_defaulted_counts_as_if_it_had():
    template = msgspec.json.decode(DOCUMENT, type=PodCliqueSet).spec.template
    assert template.cliques[1].count == 4
    assert (template.groups[0].count, template.groups[0].minimum) == (1, 1)
    assert msgspec.convert({}, PodCliqueSet).spec.template.order == api.ANY_ORDER


def test_a_gang_and_a_binding_are_read_in_their_own_words():
    gang = msgspec.convert(
        {
            "spec": {
                "podgroups": [
                    {"name": "p", "minReplicas": 1, "podReferences": [{"namespace": "ml", "name": "p-1"}]}
                ],
                "topologyConstraint": {"packConstraint": {"required": "topology/rack"}},
            },
            "status": {"phase": "Pending"},
        },
        PodGang,
    )
    assert gang.spec.podgroups[0].pod_references[0].name == "p-1"
    assert gang.spec.topology_constraint.pack_constraint.required == "topology/rack"
    binding = msgspec.convert({"spec": {"levels": [{"domain": "rack", "key": "r"}]}}, ClusterTopologyBinding)
    assert binding.keys == {"rack": "r"}


def test_every_kind_has_its_place():
    assert api.SETS.path("ml", "llm", "scale") == (
        "/apis/grove.io/v1alpha1/namespaces/ml/podcliquesets/llm/scale"
    )
    assert api.GANGS.path("ml") == "/apis/scheduler.grove.io/v1alpha1/namespaces/ml/podgangs"
    assert api.BINDINGS.path("ml", "t") == "/apis/grove.io/v1alpha1/clustertopologybindings/t"
    assert len(api.KINDS) == len({kind.plural for kind in api.KINDS.values()}) == 16
