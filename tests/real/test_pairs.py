#!/usr/bin/env python3
"""All four models as LLM and as SLM: one vocabulary, and others by bytes and by map; through a node the answer is the same."""
import itertools

import real

NAMES = tuple(real.FILES)
N_TOKENS = 16 if real.QUICK else 24
SAME = (("qwen-1.5b", "qwen-0.5b"), ("qwen-0.5b", "qwen-1.5b"))
MANY_WORDS = "My sister Ilka likes to walk along the river in the morning, and her dog Rex comes along. " * 40


def setUpModule():
    real.need_models()


def template(*names):
    """Gemma's base model has no chat template."""
    return ("--template", "raw") if "gemma" in names else ()


def one_vocabulary(llm, slm):
    return llm == slm or (llm, slm) in SAME


class PairTest(real.TestCase):
    def pairs(self):
        every = list(itertools.product(NAMES, NAMES))
        return [("smollm2", "gemma"), ("gemma", "smollm2"), ("qwen-0.5b", "smollm2")] if real.QUICK else every

    def check(self, llm, slm, vocab):
        answer = self.assert_answers(real.local(llm, slm, "--vocab", vocab, *template(llm, slm), max_tokens=N_TOKENS))
        self.assertEqual(answer.json["certified"], answer.json["n_tokens"], (llm, slm, vocab))
        return answer

    def test_pair__each_model_steers_each(self):
        for llm, slm in self.pairs():
            with self.subTest(llm=llm, slm=slm):
                answer = self.check(llm, slm, "auto")
                self.assertEqual(answer.json["vocab"], "same" if one_vocabulary(llm, slm) else "byte")

    def test_pair__by_a_map_of_tokens(self):
        pairs = [(llm, slm) for llm, slm in self.pairs() if not one_vocabulary(llm, slm)]
        for (llm, slm), how in itertools.product(pairs[:1] if real.QUICK else pairs, ("map", "map-intersect")):
            with self.subTest(llm=llm, slm=slm, how=how):
                answer = self.check(llm, slm, how)
                self.assertEqual(answer.json["vocab"], how)

    def test_pair__through_a_node(self):
        for llm, slm in self.pairs():
            if "qwen-1.5b" in (llm, slm) or llm == slm:
                continue  # test_modes.py; time
            with self.subTest(llm=llm, slm=slm), real.Node(llm) as node:
                reference = self.check(llm, slm, "auto")
                vocab = () if one_vocabulary(llm, slm) else ("--llm", real.model(llm))
                answer = real.over(node.url(), slm, *vocab, *template(llm, slm), max_tokens=N_TOKENS)
                self.assert_same(reference, answer, f"{llm} on a node, {slm}")


class SlidingWindowTest(real.TestCase):
    """Gemma's window is 512 tokens; query and notes are longer, so that every correction, draft and gate cuts a cache that slid."""

    def test_sliding_window__every_mode_and_gate(self):
        modes = {
            "streamed": ("--cloud-mode", "streamed"),
            "lockstep": ("--cloud-mode", "lockstep"),
            "streamed, private drafts": ("--cloud-mode", "streamed", "--draft", "private", "--draft-confidence", 0.3),
            "drafted": ("--cloud-mode", "drafted"),
            "drafted, private drafts": ("--cloud-mode", "drafted", "--draft", "private", "--draft-confidence", 0.3),
        }
        gates = ((), ("--gate", "token", "--gate-threshold", 0.6))
        how = {"query": MANY_WORDS + "Continue: One morning", "notes": MANY_WORDS.replace("Ilka", "Sonja"), "max_tokens": 32}
        with real.Node("gemma", max_context=4096) as node:
            for gate in gates[:1] if real.QUICK else gates:
                reference = self.assert_answers(real.local("gemma", "gemma", *template("gemma"), *gate, **how))
                for mode in ("streamed", "drafted, private drafts") if real.QUICK else modes:
                    with self.subTest(mode=mode, gate=gate):
                        answer = real.over(node.url(), "gemma", *template("gemma"), *modes[mode], *gate, **how)
                        self.assert_same(reference, answer, f"gemma, {mode}, {' '.join(map(str, gate))}")


class BadInputTest(real.TestCase):
    def test_template__a_base_model_says_what_to_pass(self):
        for llm, slm in (("gemma", "smollm2"), ("smollm2", "gemma")):
            with self.subTest(llm=llm, slm=slm):
                self.assert_refused(real.local(llm, slm), real.EXIT_MODEL, r"gemma-3-270m.*template.*--llm-template or --slm-template")

    def test_vocab__two_families_are_not_the_same(self):
        answer = real.local("smollm2", "gemma", "--vocab", "same", "--template", "raw")
        self.assert_refused(answer, real.EXIT_MODEL, "vocabular")

    def test_model__half_a_file(self):
        whole = real.model("smollm2").read_bytes()
        path = self.path("", "half.gguf")
        path.write_bytes(whole[: len(whole) // 2])
        answer = real.generate("--llm", path, "--slm", real.model("smollm2"))
        self.assert_refused(answer, real.EXIT_MODEL, r"half\.gguf")


if __name__ == "__main__":
    real.main()
