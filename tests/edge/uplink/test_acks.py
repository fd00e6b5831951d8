from hypothesis import given
from hypothesis import strategies as st

from sparsight.wire import ACK_SEQS_MAX, Ack
from sparsight_edge.uplink.acks import Acks


def drain(acks: Acks, frames_before: int) -> list[Ack]:
    sent = []
    while (ack := acks.next()) is not None:
        acks.sent(ack, frames_before)
        sent.append(ack)
    return sent


def test_results_of_an_epoch_go_together_and_no_more_than_fit() -> None:
    acks = Acks()
    for seq in range(ACK_SEQS_MAX + 1):
        acks.add(1, seq)
    acks.add(2, 0)
    assert acks.waiting == ACK_SEQS_MAX + 2
    assert acks.next() == acks.next()
    assert drain(acks, 0) == [
        Ack(1, tuple(range(ACK_SEQS_MAX))),
        Ack(1, (ACK_SEQS_MAX,)),
        Ack(2, (0,)),
    ]
    assert acks.waiting == 0


def test_what_was_not_heard_is_sent_again() -> None:
    acks = Acks()
    acks.add(1, 0)
    drain(acks, frames_before=3)
    acks.add(1, 1)
    drain(acks, frames_before=5)
    acks.add(1, 2)
    acks.heard(4)  # the fourth frame went out after the first acknowledgement
    acks.lost()
    assert drain(acks, 0) == [Ack(1, (1, 2))]
    acks.heard(1)
    acks.lost()
    assert drain(acks, 0) == []


@given(
    st.lists(
        st.one_of(
            st.just("answer"),
            st.just("ack"),
            st.just("frame"),
            st.just("cut"),
        ),
        max_size=60,
    )
)
def test_every_result_is_heard_in_the_end(history: list[str]) -> None:
    acks, heard, stored = Acks(), set[int](), set[int]()
    on_the_way: list[Ack | int] = []
    frames = 0
    for what in [*history, "cut", "ack", "frame", "answer"]:
        if what == "frame":
            frames += 1
            on_the_way.append(frames)
        elif what == "ack":
            for ack in drain(acks, frames):
                on_the_way.append(ack)
        elif what == "cut":
            acks.lost()
            on_the_way, frames = [], 0
        else:  # the cloud reads all that was sent up to its first frame, and answers that
            while on_the_way:
                one = on_the_way.pop(0)
                if isinstance(one, Ack):
                    heard |= set(one.seqs)
                    continue
                acks.heard(one)
                seq = len(stored)
                stored.add(seq)
                acks.add(1, seq)
                break
    acks.lost()
    waiting = {seq for ack in drain(acks, 0) for seq in ack.seqs}
    assert heard | waiting == stored
