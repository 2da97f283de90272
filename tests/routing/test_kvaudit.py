"""The audit against a publisher that restarts and forgets, wires that lose, and a sink full at times."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grove_dp.routing.kvaudit import Ask, Audit, Bounds, Relink

Batch = tuple[int, bytes]
KEPT = 6


class Index:
    """What was applied since the last clear; takes nothing while it is full."""

    def __init__(self):
        self.applied: list[bytes] = []
        self.clears: list[bool] = []
        self.full = False

    def apply(self, payload):
        if not self.full:
            self.applied.append(payload)
        return not self.full

    def clear(self, restarted):
        if not self.full:
            self.applied.clear()
            self.clears.append(restarted)
        return not self.full

    @property
    def seqs(self):
        return [seq_of(payload) for payload in self.applied]


def batch(seq: int, life: int = 0) -> Batch:
    return seq, f"{life}:{seq}".encode()


def seq_of(payload: bytes) -> int:
    return int(payload.split(b":")[1])


def life_of(payload: bytes) -> int:
    return int(payload.split(b":")[0])


def flowing(replayable=True, bounds=None, upto=0):
    """An audit that has applied batches 0 to *upto*-1 of life 0."""
    index = Index()
    audit = Audit(index, replayable, bounds)
    audit.connected()
    if replayable:
        audit.replay_ended()
    for seq in range(upto):
        audit.live(*batch(seq))
    return audit, index


def answer(audit, batches, failure=""):
    """Fulfil the audit's wish with *batches*."""
    assert isinstance(audit.wish, Ask)
    wish = audit.wish
    for seq, payload in batches:
        if not audit.reply(seq, payload):
            return
    if audit.wish is wish:
        audit.replay_ended(failure)


# ---------------------------------------------------------------- told one by one


def test_a_first_replay_comes_before_what_is_live_meanwhile():
    index = Index()
    audit = Audit(index, True)
    audit.connected()
    assert (audit.wish, audit.state) == (Ask(0), "replaying")
    audit.live(*batch(2))
    audit.live(*batch(3))
    answer(audit, [batch(0), batch(1), batch(2)])
    assert index.seqs == [0, 1, 2, 3]
    assert (audit.state, audit.reason, audit.wish) == ("live", "", None)
    assert audit.duplicates == 1


def test_a_replay_that_does_not_reach_back_to_the_first_batch_leaves_the_worker_cold():
    index = Index()
    audit = Audit(index, True)
    audit.connected()
    answer(audit, [batch(4), batch(5)])
    assert (audit.state, audit.reason, audit.lost) == ("cold", "ReplayTruncated", 4)
    assert index.seqs == [4, 5]


def test_a_gap_is_filled_from_the_last_applied_batch_on():
    audit, index = flowing(upto=3)
    audit.live(*batch(6))
    assert audit.wish == Ask(2)
    audit.live(*batch(7))
    answer(audit, [batch(seq) for seq in range(2, 7)])
    assert index.seqs == list(range(8))
    assert (audit.state, audit.gaps, audit.lost, index.clears) == ("live", 1, 0, [])


def test_a_gap_that_nobody_can_fill_drops_the_entries():
    audit, index = flowing(upto=3)
    audit.live(*batch(9))
    answer(audit, [batch(7), batch(8), batch(9)])
    assert (audit.state, audit.reason, audit.lost) == ("cold", "ReplayTruncated", 4)
    assert index.seqs == [7, 8, 9]


def test_a_gap_without_a_replay_socket_drops_the_entries():
    audit, index = flowing(replayable=False, upto=3)
    assert audit.state == "live"  # it was there from batch 0 on
    audit.live(*batch(5))
    assert (audit.state, audit.reason, audit.lost) == ("cold", "NoReplay", 2)
    assert index.seqs == [5]


def test_numbers_that_go_back_are_a_restart():
    audit, index = flowing(upto=3)
    audit.live(*batch(0, life=1))
    assert (index.clears, index.applied, audit.wish) == ([True], [], Ask(0))
    answer(audit, [batch(0, life=1)])
    assert index.applied == [b"1:0"]
    assert (audit.state, audit.restarts) == ("live", 1)


def test_a_restarted_worker_that_overtook_its_former_self_is_found_out():
    audit, index = flowing(upto=3)
    audit.disconnected()
    audit.connected()
    assert audit.wish == Ask(2)
    answer(audit, [batch(seq, life=1) for seq in range(2, 9)])
    assert (index.clears, index.applied) == ([True], [])
    assert isinstance(audit.wish, Relink)
    audit.disconnected()
    audit.connected()
    answer(audit, [batch(seq, life=1) for seq in range(9)])
    assert index.applied == [payload for _, payload in (batch(seq, life=1) for seq in range(9))]
    assert audit.state == "live"


def test_a_restarted_worker_that_said_less_than_before_is_found_out():
    audit, index = flowing(upto=3)
    audit.disconnected()
    audit.connected()
    answer(audit, [])
    assert (index.clears, index.applied) == ([True], [])


def test_a_cut_connection_costs_nothing_when_the_worker_lives_on():
    audit, index = flowing(upto=3)
    audit.disconnected()
    assert audit.state == "disconnected"
    audit.connected()
    answer(audit, [batch(2), batch(3)])
    audit.live(*batch(4))
    assert (index.seqs, index.clears, audit.state) == ([0, 1, 2, 3, 4], [], "live")


def test_a_replay_with_a_hole_goes_on_from_where_it_got():
    audit, index = flowing(upto=1)
    audit.live(*batch(6))
    answer(audit, [batch(0), batch(1), batch(2), batch(5)])
    assert audit.wish == Ask(2)
    answer(audit, [batch(seq) for seq in range(2, 7)])
    assert (index.seqs, audit.state) == (list(range(7)), "live")


def test_replays_that_fail_end():
    audit, index = flowing(upto=2)
    audit.live(*batch(5))
    asked = 0
    while audit.wish:
        asked += 1
        answer(audit, [], failure="ReplayTimeout")
    assert asked == 3
    assert (audit.state, audit.reason, index.seqs) == ("cold", "ReplayTimeout", [5])


def test_a_replay_socket_that_keeps_nothing_does_not_keep_us_asking():
    audit, index = flowing()
    audit.live(*batch(5))
    asked = 0
    while audit.wish:
        asked += 1
        answer(audit, [])
    assert asked <= 4
    assert (audit.state, audit.reason, index.seqs) == ("cold", "ReplayIncomplete", [5])


@pytest.mark.parametrize("bounds", [Bounds(held=2), Bounds(held_bytes=7)])
def test_what_does_not_fit_while_a_replay_runs_is_fetched_by_the_next(bounds):
    audit, index = flowing(bounds=bounds, upto=1)
    audit.live(*batch(2))
    for seq in range(3, 8):
        audit.live(*batch(seq))
    assert len(audit._held) <= 2
    answer(audit, [batch(0), batch(1), batch(2)])
    assert isinstance(audit.wish, Ask)
    answer(audit, [batch(seq) for seq in range(audit.wish.start, 8)])
    assert (index.seqs, audit.state) == (list(range(8)), "live")


def test_what_a_full_sink_refused_is_fetched_again():
    audit, index = flowing(upto=2)
    index.full = True
    audit.live(*batch(2))
    audit.live(*batch(3))
    assert (audit.state, audit.reason, audit.refused, audit.wish) == ("cold", "SinkFull", 1, None)
    index.full = False
    audit.resume()
    answer(audit, [batch(1), batch(2), batch(3)])
    assert (index.seqs, index.clears, audit.state) == ([0, 1, 2, 3], [], "live")


def test_a_sink_too_full_to_be_told_to_clear_is_told_later():
    audit, index = flowing(replayable=False, upto=2)
    index.full = True
    audit.live(*batch(5))
    audit.resume()
    assert (audit.state, audit.reason, index.seqs) == ("cold", "SinkFull", [0, 1])
    index.full = False
    audit.resume()
    audit.live(*batch(6))
    assert (index.clears, index.seqs, audit.state) == ([False], [6], "cold")


def test_our_own_reset_clears_at_once_and_ends_the_cold():
    audit, index = flowing(replayable=False, upto=2)
    audit.live(*batch(5))
    assert audit.state == "cold"
    assert audit.reset()
    audit.live(*batch(6))
    assert (index.seqs, audit.state) == ([6], "live")


def test_a_worker_that_stays_away_loses_its_entries():
    audit, index = flowing(upto=2)
    audit.disconnected()
    audit.expire("Disconnected")
    assert (index.applied, audit.reason) == ([], "Disconnected")
    audit.connected()
    answer(audit, [batch(0), batch(1)])
    assert (index.seqs, audit.state) == ([0, 1], "live")


def test_a_live_batch_that_comes_twice_counts_once():
    audit, index = flowing(upto=2)
    audit.live(*batch(1))
    assert (index.seqs, audit.duplicates, audit.state) == ([0, 1], 1, "live")


# ---------------------------------------------------------------- any interleaving


class Story(RuleBasedStateMachine):
    """Wires, lives and sinks in any order. What is applied never has a hole, and all ends well."""

    @initialize(replayable=st.booleans(), held=st.integers(0, 4))
    def begin(self, replayable, held):
        self.index = Index()
        self.audit = Audit(self.index, replayable, Bounds(held=held))
        self.life = 0
        self.log: list[bytes] = []
        self.wire: deque[Batch] | None = None  # what the subscription has yet to bring
        self.wire_life = 0
        self.asked: Ask | None = None
        self.answers: deque[Batch] = deque()
        self.whole = False  # a reset made the empty index a whole picture

    @property
    def kept(self):
        return [(seq, payload) for seq, payload in enumerate(self.log)][-KEPT:]

    def publish(self, lost=False):
        seq = len(self.log)
        self.log.append(batch(seq, self.life)[1])
        if self.wire is not None and self.wire_life == self.life and not lost:
            self.wire.append((seq, self.log[-1]))

    # what the world does

    @rule(count=st.integers(1, 9), lost=st.booleans())
    def publishes(self, count, lost):
        for _ in range(count):
            self.publish(lost)

    @rule(batches=st.integers(0, 9))
    def restarts(self, batches):
        self.life, self.log = self.life + 1, []
        for _ in range(batches):
            self.publish()

    @rule()
    def subscription_is_up(self):
        if self.wire is None:
            self.wire, self.wire_life = deque(), self.life
            self.audit.connected()

    @rule()
    def subscription_ends(self):
        if self.wire is not None:
            self.wire = None
            self.audit.disconnected()

    @rule(count=st.integers(1, 9), twice=st.booleans())
    def batches_arrive(self, count, twice):
        while self.wire and count:
            count -= 1
            arrived = self.wire.popleft()
            self.audit.live(*arrived)
            if twice:
                self.audit.live(*arrived)
            self.relink()

    def relink(self):
        if isinstance(self.audit.wish, Relink):
            self.subscription_ends()
            self.subscription_is_up()

    @rule(
        count=st.integers(0, 9), hole=st.integers(0, 9), end=st.sampled_from(["", "later", "ReplayTimeout"])
    )
    def replay_goes_on(self, count, hole, end):
        wish = self.audit.wish
        if not isinstance(wish, Ask):
            return
        if wish is not self.asked:
            self.asked = wish
            self.answers = deque(kept for kept in self.kept if kept[0] >= wish.start)
        while self.answers and count and self.audit.wish is wish:
            count -= 1
            answered = self.answers.popleft()
            if count != hole and not self.audit.reply(*answered):
                break
        if self.audit.wish is wish and end != "later":
            self.audit.replay_ended(end if end or not self.answers else "ReplayTimeout")
        self.relink()

    @rule(full=st.booleans())
    def sink_is(self, full):
        self.index.full = full

    @rule()
    def sink_is_tried_again(self):
        self.audit.resume()

    @rule()
    def cache_is_reset(self):
        if self.audit.reset():
            self.whole = True

    @precondition(lambda self: self.wire is None)
    @rule()
    def patience_ends(self):
        self.audit.expire("Disconnected")

    # what must hold

    @invariant()
    def no_hole(self):
        seqs = self.index.seqs
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True
        assert len(self.audit._held) <= self.audit._bounds.held + 1
        alive = self.wire is not None and self.wire_life == self.life
        if alive and self.audit._phase == "flowing":
            assert {life_of(payload) for payload in self.index.applied} <= {self.life}

    @invariant()
    def whole_unless_cold(self):
        if self.audit.state == "live" and self.index.seqs and not self.whole:
            assert self.index.seqs[0] == 0

    def teardown(self):
        """Everything works again: in the end the index has it all, or says why not."""
        if not hasattr(self, "audit"):
            return
        self.index.full = False
        if self.wire is None or self.wire_life != self.life:
            self.subscription_ends()
            self.subscription_is_up()
        self.publish()
        for _ in range(40):
            self.audit.resume()
            self.batches_arrive(999, False)
            self.replay_goes_on(999, -1, "")
        self.no_hole()
        self.whole_unless_cold()
        assert self.audit.wish is None
        assert self.audit.state in ("live", "cold")
        assert self.index.applied[-1] == self.log[-1]


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
