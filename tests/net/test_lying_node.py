#!/usr/bin/env python3
"""A node that keeps to the protocol and lies about its distributions, and what it can read of a context: docs/privacy.md.

Two contexts that differ only in parts that are not selected: every message that the device sends is the same, byte for byte, whatever the
node claims. With all of the context in the expert's prompt the messages differ, so that the comparison can fail.
"""
import math
import random

import fake_node
import support
import wire

V = support.N_VOCAB
N_TOKENS = 24
FIRST, N_ENTRIES = 300, 64  # ids of whole pieces
USED = "name: Soraya\ncity: Gothenburg\n"
STAYS = ("salary: 4200 a month\n", "illness: asthma, since the spring of last year\nI owe Rufus money.\n")
CHOICE = ("--use", "needed", "--pin", "name:", "--pin", "city:", "--drop", "salary", "--drop", "illness", "--drop", "Rufus")


def flat(n):
    return [math.log(1 / V)] * n


def certain_of(position):
    """The node's own beginning, a piece that is as good as certain, and then all alike."""
    if position < 4:
        return [FIRST + 17 * position, *range(FIRST + 100, FIRST + 107)], [math.log(0.99)] + [math.log(0.001)] * 7
    return list(range(FIRST, FIRST + N_ENTRIES)), flat(N_ENTRIES)


def at_random(position):
    chance = random.Random(position)
    weights = sorted((chance.random() for _ in range(N_ENTRIES)), reverse=True)
    return chance.sample(range(FIRST, V), N_ENTRIES), [math.log(0.9 * w / sum(weights)) for w in weights]


def two_of_them(position):
    """Which of two does the expert prefer? One bit a token."""
    return [FIRST + position, FIRST + 200 + position], [math.log(0.499)] * 2


LIES = {
    "nothing: the same good distribution everywhere": None,
    "all tokens are alike": lambda position: (list(range(FIRST, FIRST + N_ENTRIES)), flat(N_ENTRIES)),
    "it is certain of a beginning of its own, then all are alike": certain_of,
    "distributions at random": at_random,
    "two tokens are possible": two_of_them,
}


class LyingNode(fake_node.FakeNode):
    """`lie(position)` gives ids and log-probabilities; None: a good distribution. `seen` is every message of the device."""

    def __init__(self, lie):
        self.lie, self.seen = lie, []
        super().__init__()

    def serve(self, stream, head):
        receive = stream.recv

        def recorded():
            message = receive()
            self.seen.append(bytes(message))
            return message

        stream.recv = recorded
        super().serve(stream, head)

    def send(self, stream, position, epoch):
        if self.lie is None:
            stream.send(fake_node.good(position, epoch=epoch))
        else:
            ids, values = self.lie(position)
            stream.send(wire.distribution(V, position, ids, values, epoch=epoch))


class LyingNodeTest(support.TestCase):
    def seen(self, lie, context, *options):
        with LyingNode(lie) as node:
            # lockstep: in the other modes it depends on time which frames share a message
            answer = support.generate(node.url(), "--cloud-mode", "lockstep", "--max-tokens", N_TOKENS, *options, notes=context)
            self.assertEqual((answer.code, node.errors), (0, []), answer)
            return [m for m in node.seen if m[:1] != b"\x0a"]  # pings tell the time

    def test_lying_node__nothing_that_is_sent_depends_on_what_is_not_selected(self):
        others = [(certain_of, more) for more in (("--constant-k",), ("--method", "costeer-whole"), ("--temperature", 1, "--seed", 7))]
        for lie, more in [(lie, ()) for lie in LIES.values()] + others:
            with self.subTest(lie=lie, more=more):
                of = [self.seen(lie, USED + rest, *CHOICE, *more) for rest in STAYS]
                self.assertGreater(len(of[0]), 4)
                self.assertEqual(of[0], of[1])

    def test_lying_node__all_that_the_expert_is_told_can_be_read(self):
        """What selection is for: the same lies, and the messages are not the same."""
        for name, lie in LIES.items():
            if lie not in (None, two_of_them):
                with self.subTest(name):
                    of = [self.seen(lie, USED + rest, "--use", "all") for rest in STAYS]
                    self.assertNotEqual(of[0], of[1])


if __name__ == "__main__":
    support.main()
