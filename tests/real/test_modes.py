#!/usr/bin/env python3
"""Qwen 1.5B steered by 0.5B: every mode and gate gives the answer of the two in one process, through a node and through llama-server."""
import itertools
import sys
import pathlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "engine"))

import real  # noqa: E402
import test_llama_server as engine  # noqa: E402

LLM, SLM = "qwen-1.5b", "qwen-0.5b"
QUERIES = real.QUERIES[:1] if real.QUICK else real.QUERIES
N_TOKENS = 32 if real.QUICK else 64
GATES = {"none": (), "token": ("--gate", "token"), "ada": ("--gate", "ada"), "sure": ("--gate", "token", "--gate-threshold", 0.5)}
MODES = {
    "lockstep": ("--cloud-mode", "lockstep"),
    "streamed": ("--cloud-mode", "streamed"),
    "streamed, private drafts": ("--cloud-mode", "streamed", "--draft", "private", "--draft-confidence", 0.6),
    "drafted": ("--cloud-mode", "drafted"),
    "drafted, private drafts": ("--cloud-mode", "drafted", "--draft", "private", "--draft-confidence", 0.6),
}
MORE_MODES = {
    "streamed, window 3": ("--cloud-mode", "streamed", "--window", 3),
    "streamed, all entries": ("--cloud-mode", "streamed", "--base-top-k", 0),
    "streamed, 1,024 entries": ("--cloud-mode", "streamed", "--base-top-k", 1024),
    "streamed, 16 bits": ("--cloud-mode", "streamed", "--half-precision"),
    "drafted, 3 tokens": ("--cloud-mode", "drafted", "--draft-length", 3),
    "drafted, 32 private tokens": ("--cloud-mode", "drafted", "--draft-length", 32, "--draft", "private", "--draft-confidence", 0.2),
}


def setUpModule():
    real.need_models()


_references = {}


def reference(gate="none", query=QUERIES[0]):
    """The answer in one process."""
    if (gate, query) not in _references:
        _references[gate, query] = real.local(LLM, SLM, *GATES[gate], query=query, max_tokens=N_TOKENS)
    answer = _references[gate, query]
    assert answer.code == 0, answer
    return answer


class LocalTest(real.TestCase):
    def test_local__steers_and_proves_every_token(self):
        for query in QUERIES:
            answer = self.assert_answers(reference(query=query))
            self.assertGreater(answer.json["n_steered"], 0)
            self.assertEqual(answer.json["certified"], answer.json["n_tokens"])

    def test_local__few_entries_of_the_llm_give_the_same_answer(self):
        for k in (64,) if real.QUICK else (16, 64, 1024):
            answer = real.local(LLM, SLM, "--base-top-k", k, max_tokens=N_TOKENS)
            self.assert_same(reference(), answer, f"K = {k}")
            self.assertEqual(answer.json["uncertified"], 0)

    def test_local__gates_leave_tokens_alone(self):
        for gate in ("token",) if real.QUICK else ("token", "ada", "sure"):
            self.assertGreater(reference(gate).json["n_gated"], 0, gate)


class NodeTest(real.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = real.Node(LLM)
        cls.addClassCleanup(cls.node.__exit__)

    def check(self, mode, gate="none", query=QUERIES[0]):
        options = {**MODES, **MORE_MODES}[mode]
        answer = real.over(self.node.url(), SLM, *options, *GATES[gate], query=query, max_tokens=N_TOKENS)
        note = f"node, {mode}, gate {gate}, {query!r}"
        self.assert_same(reference(gate, query), answer, note)
        cloud = answer.json["cloud"]
        self.assertEqual((cloud["reconnects"], answer.json["uncertified"]), (0, 0), note)
        return answer

    def test_node__every_mode(self):
        for mode, query in itertools.product(MODES, QUERIES):
            with self.subTest(mode=mode, query=query):
                cloud = self.check(mode, query=query).json["cloud"]
                if "private" in mode or mode == "drafted":
                    self.assertGreater(cloud["drafts_sent"], 0)

    def test_node__every_gate(self):
        gates = ("token",) if real.QUICK else ("token", "ada", "sure")
        modes = ("streamed",) if real.QUICK else MODES
        for gate, mode in itertools.product(gates, modes):
            with self.subTest(gate=gate, mode=mode):
                self.check(mode, gate)

    def test_node__more_of_the_modes(self):
        for mode in ("streamed, all entries",) if real.QUICK else MORE_MODES:
            with self.subTest(mode=mode):
                self.check(mode)


class LlamaServerTest(real.TestCase):
    @classmethod
    def setUpClass(cls):
        real.need_llama_server()
        cls.server = engine.Server(parallel=1, model=real.model(LLM), n_ctx=1024)
        cls.addClassCleanup(cls.server.__exit__)

    def check(self, mode, gate="none", query=QUERIES[0], more=()):
        answer = real.over(self.server.url(), SLM, "--cloud-mode", mode, *GATES[gate], *more, query=query, max_tokens=N_TOKENS)
        note = f"llama-server, {mode}, gate {gate}, {' '.join(map(str, more))}, {query!r}"
        self.assert_same(reference(gate, query), answer, note)
        return answer

    def test_llama_server__every_mode(self):
        for mode in ("lockstep", "streamed"):
            for query in QUERIES:
                with self.subTest(mode=mode, query=query):
                    self.check(mode, query=query)

    def test_llama_server__gates_and_entries(self):
        with self.subTest(k=1024):
            self.check("streamed", more=("--base-top-k", 1024))
        for gate in () if real.QUICK else ("token", "ada", "sure"):
            with self.subTest(gate=gate):
                self.check("streamed", gate)


if __name__ == "__main__":
    real.main()
