#!/usr/bin/env python3
"""Long texts with real models: 6,000 words of notes, and such as do not fit: one clear line and the right exit code."""
import real

FACT = "The code of the garden shed is heliotrope."
QUERY = "What is the code of the garden shed? Answer with the code only."
N_WORDS = 1200 if real.QUICK else 6000
CTX_SIZE = ("--ctx-size", 3072 if real.QUICK else 12288)


def setUpModule():
    real.need_models()


def long_notes(n_words):
    """Plain lines that differ, with the fact in the middle."""
    names, things = ("Anna", "Bo", "Carl", "Dina", "Eva", "Filip"), ("coffee", "the cello", "trains", "tea", "cats", "Portuguese")
    line = "On {} June my friend {} told me again about {} and stayed until the evening."
    lines = [line.format(1 + i % 30, names[i % 6], things[i // 6 % 6]) for i in range(n_words // 15)]
    lines.insert(len(lines) // 2, FACT)
    return "\n".join(lines) + "\n"


class LongTest(real.TestCase):
    def test_long_notes__steer(self):
        notes = long_notes(N_WORDS)
        self.assertGreaterEqual(len(notes.split()), N_WORDS - 20)
        short = self.assert_answers(real.local("qwen-1.5b", "qwen-0.5b", *CTX_SIZE, query=QUERY, notes=FACT, max_tokens=12))
        answer = self.assert_answers(real.local("qwen-1.5b", "qwen-0.5b", *CTX_SIZE, query=QUERY, notes=notes, max_tokens=12))
        self.assertGreater(answer.json["n_steered"], 0)
        self.assertEqual(answer.json["certified"], answer.json["n_tokens"])
        print(f"{len(notes.split())} words: {answer.text!r}; the fact alone: {short.text!r}")

    def test_long_notes__through_a_node(self):
        """The node never sees them, so that its own context may be short."""
        notes = long_notes(min(N_WORDS, 5000))  # SmolLM2 was trained for 8,192 tokens
        reference = self.assert_answers(real.local("smollm2", "smollm2", query=QUERY, notes=notes, max_tokens=12))
        with real.Node("smollm2", max_context=256) as node:
            for mode in ("streamed", "drafted"):
                with self.subTest(mode=mode):
                    answer = real.over(node.url(), "smollm2", "--cloud-mode", mode, query=QUERY, notes=notes, max_tokens=12)
                    self.assert_same(reference, answer, f"long notes, {mode}")

    def test_long_query__through_a_node(self):
        query = long_notes(N_WORDS // 4) + QUERY
        reference = self.assert_answers(real.local("smollm2", "smollm2", query=query, notes=FACT, max_tokens=12))
        with real.Node("smollm2", max_context=4096) as node:
            answer = real.over(node.url(), "smollm2", query=query, notes=FACT, max_tokens=12)
            self.assert_same(reference, answer, "long query")


class TooLongTest(real.TestCase):
    def test_too_long__notes(self):
        answer = real.local("qwen-1.5b", "qwen-0.5b", query=QUERY, notes=long_notes(8000))
        self.assert_refused(answer, real.EXIT_DATA, r"notes\.txt: .* \d+ tokens .*do not fit the 8192 .*--ctx-size")

    def test_too_long__query(self):
        answer = real.local("smollm2", "smollm2", query=long_notes(9000), notes=FACT)
        self.assert_refused(answer, real.EXIT_DATA, r"\d+ tokens .*do not fit the 8192 ")

    def test_too_long__query_for_a_node(self):
        with real.Node("smollm2", max_context=256) as node:
            answer = real.over(node.url(), "smollm2", query=long_notes(1000), notes=FACT)
            self.assert_refused(answer, real.EXIT_DATA, r"256")


if __name__ == "__main__":
    real.main()
