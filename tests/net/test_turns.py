#!/usr/bin/env python3
"""Turns of a conversation: what a node has computed for a connection is used again on it, and on no other one."""
import sys

import support
import wire

sys.path.insert(0, str(support.REPO / "tests" / "cli" / "helpers"))
import gguf  # noqa: E402  pylint: disable=wrong-import-position

V = support.N_VOCAB
PROMPT = [300 + i % 200 for i in range(120)]
MORE = [501, 502, 503, 504, 505]


class TurnsTest(support.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = support.Node("--parallel", 4)

    @classmethod
    def tearDownClass(cls):
        cls.node.__exit__()

    def connect(self):
        stream, _ = self.node.connect()
        self.addCleanup(stream.close)
        return stream

    def n_computed(self):
        return int(self.node.metrics()["costeer_prompt_tokens_total"])

    @staticmethod
    def read(stream, kind):
        """The next frame, which must be of a kind."""
        frames = wire.decode(stream.recv(), V)
        assert len(frames) == 1 and frames[0]["type"] == kind, frames
        return frames[0]

    def say(self, stream, opening, answer=(700,)):
        """Open an answer that has these tokens, and close it. Prompt tokens computed for it: a step is counted before the next begins."""
        before = self.n_computed()
        stream.send(opening)
        self.read(stream, "distribution")
        for position, token in enumerate(answer):
            stream.send(wire.correct(position + 1, position, token))
            self.read(stream, "distribution")
        stream.send(wire.close())
        self.read(stream, "close")
        return self.n_computed() - before

    def test_turns__the_same_connection_computes_what_is_new(self):
        stream, answer = self.connect(), [600, 601, 602]
        first = self.say(stream, wire.open_(V, PROMPT), answer)
        self.assertGreaterEqual(first, len(PROMPT) - 1)
        second = PROMPT + answer + MORE
        self.assertLessEqual(self.say(stream, wire.open_(V, second), [700]), len(MORE) + 1)
        self.assertLessEqual(self.say(stream, wire.open_(V, second + [700] + MORE)), len(MORE) + 1)

    def test_turns__another_connection_computes_all(self):
        """The same token and address, while the first connection is there, and when it is gone."""
        first = self.connect()
        self.say(first, wire.open_(V, PROMPT))
        self.assertGreaterEqual(self.say(self.connect(), wire.open_(V, PROMPT + MORE)), len(PROMPT + MORE) - 1)
        first.close()
        self.assertGreaterEqual(self.say(self.connect(), wire.open_(V, PROMPT + MORE)), len(PROMPT + MORE) - 1)

    @staticmethod
    def spell(words):
        """Tokens of a byte each: a tokenizer takes fewer."""
        names = gguf.read(str(support.MODELS / "costeer-llm.gguf"))[0]["tokenizer.ggml.tokens"][1][1]
        return [names.index(b"<0x%02X>" % byte) for byte in words.encode()]

    def test_turns__messages_with_an_earlier_answer_are_read_as_its_tokens(self):
        question = ("user", "Write a short bio of the gardener who has moved to the city, with all that is known of her, please.")
        words = "Hello there, I am a gardener and live in the city"
        letters = self.spell(words)
        turns = [question, ("assistant", words), ("user", "Thanks.")]
        stream = self.connect()
        first = self.say(stream, wire.open_messages(V, [question]), letters)
        second = self.say(stream, wire.open_messages(V, turns))
        self.assertLess(second, 30)  # the end of the answer, the question and what the template puts around it
        fresh = self.say(self.connect(), wire.open_messages(V, turns))
        self.assertGreater(fresh, first)  # another connection reads the text, cut as a tokenizer cuts it
        self.assertLess(fresh, first + len(letters) + second - 10)


if __name__ == "__main__":
    support.main()
