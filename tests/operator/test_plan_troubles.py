"""What keeps a set from being as it should: which lines of `lastErrors` it comes to, and which stay."""

from grove_operator.plan.troubles import Trouble, last_errors, summed

from grove_dp.kube.stamps import second_time
from tests.operator.picture_samples import T0

QUOTA = 'pods "{}" is forbidden: exceeded quota: q, requested: pods=1, used: pods={}, limited: pods=5'


def quota(pod="a-x", used=5):
    return Trouble("Forbidden", QUOTA.format(pod, used), "Pod", ("PodClique", "a"))


def entry(trouble, at=T0):
    return {"code": trouble.code, "description": trouble.said, "observedAt": second_time(at)}


def test_a_trouble_is_told_with_the_time_it_was_first_seen():
    assert last_errors(None, [quota()], T0) == [entry(quota())]
    assert last_errors([entry(quota())], [quota()], T0 + 60) == [entry(quota())]


def test_other_names_and_numbers_are_the_same_trouble():
    held = [entry(quota())]
    assert last_errors(held, [quota("a-y", 4), quota("b-z", 3)], T0 + 60) == held


def test_another_sentence_is_another_trouble():
    other = Trouble("Forbidden", "the namespace is on its way out", "Pod")
    assert last_errors([entry(quota())], [other], T0 + 60) == [entry(other, T0 + 60)]
    assert last_errors([entry(quota())], [], T0 + 60) == []


def test_a_long_sentence_is_cut_and_stays_the_same():
    long = Trouble("Invalid", "x" * 5000)
    told = last_errors(None, [long], T0)
    assert len(told[0]["description"]) == 1000
    assert last_errors(told, [long], T0 + 60) == told


def test_replicas_with_one_sort_of_trouble_are_one_line():
    told = summed({index: [quota(f"a-{index}", index)] for index in reversed(range(9))})
    assert [one.said for one in told] == [f"replicas 0, 1, 2, 3, 4 and 4 more: {quota('a-0', 0).said}"]
    assert summed({7: [quota(), quota("a-y")]})[0].said == f"replica 7: {quota().said}"


def test_the_sets_own_trouble_names_no_replica():
    own = Trouble("ForeignObject", "ServiceAccount ml/s belongs to another", "ServiceAccount")
    assert [one.said for one in summed({None: [own], 0: [quota()]})] == [
        f"replica 0: {quota().said}",
        own.said,
    ]
