"""Names as Grove writes them."""

from grove_operator import naming


def test_names_nest_as_groves_do():
    group = naming.group("llm", 1, "wide")
    assert group == "llm-1-wide"
    assert naming.group_clique(group, 2, "leader") == "llm-1-wide-2-leader"
    assert naming.clique("llm", 0, "router") == "llm-0-router"
    assert (naming.base_gang("llm", 1), naming.service("llm", 1)) == ("llm-1", "llm-1")


def test_scaled_gangs_count_from_the_first_replica_beyond_the_base():
    group = naming.group("llm", 0, "wide")
    assert [naming.scaled_gang(group, index, 2) for index in (2, 3)] == ["llm-0-wide-0", "llm-0-wide-1"]


def test_a_pod_is_found_under_its_replicas_service():
    host = naming.host_name("llm-0-wide-0-leader", 0)
    assert f"{host}.{naming.service_domain('llm', 0, 'ml')}" == (
        "llm-0-wide-0-leader-0.llm-0.ml.svc.cluster.local"
    )
