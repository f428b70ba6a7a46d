#!/usr/bin/env python3
"""compare, eval, report and score with real weights, and four devices on one node at once."""
import concurrent.futures
import json
import math
import pathlib

import real

LLM, SLM = "qwen-1.5b", "qwen-0.5b"
N_TOKENS = 24 if real.QUICK else 48
ROWS = ({"id": "a", "query": real.QUERIES[0], "context": real.NOTES, "output": "Come to the boathouse in Saltholmen!",
         "facts": ["boathouse", "Saltholmen"]},
        {"id": "b", "query": real.QUERIES[1], "context": real.NOTES, "output": "This is Marta.", "facts": ["Marta", "Gothenburg"]})  # fmt: skip


def setUpModule():
    real.need_models()


class CommandTest(real.TestCase):
    def pair(self):
        return "--llm", real.model(LLM), "--slm", real.model(SLM), "--threads-llm", 1

    def ok(self, *arguments, stdin=None):
        answer = real.run(*arguments, stdin=stdin)
        self.assertEqual(answer.code, 0, answer)
        return answer

    def test_compare__four_ways(self):
        notes = self.path(real.NOTES)
        done = self.ok("compare", *self.pair(), "--context", notes, "--max-tokens", N_TOKENS, "--json", real.QUERIES[0])
        methods = {m["name"]: m for m in done.json["methods"]}
        self.assertEqual(list(methods), ["llm", "slm+context", "costeer", "llm+context"])
        for method in methods.values():
            self.assertTrue(method["text"].strip())
        reference = real.local(LLM, SLM, max_tokens=N_TOKENS)
        self.assert_same_tokens(reference, methods["costeer"]["token_ids"], "compare")
        self.assertNotEqual(methods["costeer"]["token_ids"], methods["llm"]["token_ids"])

    def test_compare__the_rest_of_the_methods(self):
        names = ("lightcosteer", "adacosteer", "context-steering", "linear-alignment", "amulet", "slm")
        names = names[:1] if real.QUICK else names
        wanted = [word for name in names for word in ("--method", name)]
        done = self.ok("compare", *self.pair(), "--context", self.path(real.NOTES), "--max-tokens", N_TOKENS, "--json", *wanted,
                       real.QUERIES[0])  # fmt: skip
        self.assertEqual([m["name"] for m in done.json["methods"]], list(names))
        for method in done.json["methods"]:
            self.assertTrue(method["text"].strip(), method)

    def test_select__a_note_is_needed_for_one_request_and_not_for_another(self):
        notes = self.path("The heating of the hall is broken since Monday.\nMy daughter turns six on 4 May.\n")
        scores = []
        for request in ("Write to the caretaker about the heating.", "Write an invitation to my daughter's birthday."):
            done = self.ok("select", "--slm", real.model(LLM), "--context", notes, "--json", request)
            if not real.QUICK:
                again = self.ok("select", "--slm", real.model(LLM), "--context", notes, "--json", "--threads", 1, request)
                self.assertEqual([p["used"] for p in done.json["parts"]], [p["used"] for p in again.json["parts"]])
            scores.append([p["score"] for p in done.json["parts"]])
        (heating, other), (elsewhere, birthday) = scores
        self.assertGreater(heating, other + 0.3, scores)
        self.assertGreater(birthday, elsewhere + 0.3, scores)

    def test_eval__is_repeated_to_the_byte_and_reported(self):
        data, out = self.path("".join(json.dumps(row) + "\n" for row in ROWS), "rows.jsonl"), self.path("").parent
        methods = ("--method", "llm", "--method", "costeer") if real.QUICK else ()
        command = ("eval", "--task", "generic", "--data", data, *self.pair(), "--max-tokens", 48, "--json", *methods)
        first = self.ok(*command, "--out", out / "one")
        items = {item["label"]: item for item in first.json["items"]}
        recall = {label: item["metrics"]["fact_recall"] for label, item in items.items()}
        self.assertGreater(recall["costeer"], recall["llm"], recall)
        if not real.QUICK:
            self.ok(*command, "--out", out / "two")
            results = [(out / run / "results.jsonl").read_bytes() for run in ("one", "two")]
            self.assertEqual(*results)
        self.ok("report", out / "one")
        self.assertIn("costeer", (out / "one" / "report.md").read_text(encoding="utf-8"))

    def test_score__likes_the_fitting_answer(self):
        notes = self.path(real.NOTES)
        scores = {}
        for text in ("Marta lives in Gothenburg.", "Marta lives in Madrid."):
            done = self.ok("score", "--model", real.model(SLM), "--threads", 1, "--context", notes, "--text", self.path(text), "--json",
                           "Where does Marta live?")  # fmt: skip
            self.assertTrue(math.isclose(done.json["perplexity"], math.exp(-done.json["logprob_sum"] / done.json["n_tokens"]),
                                         rel_tol=1e-6))  # fmt: skip
            scores[text] = done.json["logprob_sum"]
        self.assertGreater(scores["Marta lives in Gothenburg."], scores["Marta lives in Madrid."] + 1)

    def test_model_and_vocab__know_the_files(self):
        for name in real.FILES:
            info = json.loads(self.ok("model", "--json", real.model(name)).out)
            self.assertEqual(pathlib.Path(info["path"]).name, real.FILES[name])
        done = self.ok("vocab", "--llm", real.model(LLM), "--slm", real.model("smollm2"))
        self.assertRegex(done.out, r"\d")


class DevicesTest(real.TestCase):
    def test_devices__four_at_once_get_what_each_gets_alone(self):
        slm = "smollm2" if real.QUICK else SLM
        llm = "smollm2" if real.QUICK else LLM
        queries = [*real.QUERIES, "Write a diary entry about my dog."]
        modes = ("streamed", "lockstep", "drafted", "streamed")
        with real.Node(llm, parallel=4) as node:
            def ask(i):
                return real.over(node.url(), slm, "--cloud-mode", modes[i], query=queries[i], max_tokens=N_TOKENS)

            alone = [self.assert_answers(ask(i)) for i in range(4)]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                together = list(pool.map(ask, range(4)))
            for i in range(4):
                with self.subTest(device=i, mode=modes[i]):
                    self.assert_same(alone[i], together[i], f"device {i} of 4, {modes[i]}")


if __name__ == "__main__":
    real.main()
