#!/usr/bin/python3
"""Tests of the training data and the tokenizer; needs numpy, not torch.

    models/train/test_data.py
"""

import json
import os
import random
import unittest

import data
import tokenizer as tok
import words
from notes import WORDINGS
from phrasings import REQUESTS
from values import ALL_TRAIN, HELD_OUT_WORDS, KINDS, is_held_out, training_value

HERE = os.path.dirname(os.path.abspath(__file__))


def load_tokenizer():
    return tok.Tokenizer.load(os.path.join(HERE, "tokenizer.json"))


def load_prompts():
    with open(os.path.join(HERE, "..", "eval", "prompts.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class HeldOut(unittest.TestCase):
    def test_over_a_hundred_ordinary_words_are_held_out(self):
        self.assertGreaterEqual(len(HELD_OUT_WORDS), 100)

    def test_held_out_words_are_in_no_training_list_and_no_phrasing(self):
        text = json.dumps([words.TRAIN, WORDINGS, REQUESTS], ensure_ascii=False).lower()
        seen = set("".join(c if c.isalpha() else " " for c in text).split())
        self.assertEqual(seen & HELD_OUT_WORDS, set())

    def test_training_values_are_never_held_out(self):
        rng, pieces = random.Random(11), load_tokenizer().letter_pieces()
        for _ in range(20000):
            value = training_value(rng, rng.choice(sorted(KINDS)), pieces)
            self.assertTrue(value in ALL_TRAIN or not is_held_out(value), value)

    def test_every_fact_of_the_prompts_is_held_out(self):
        for prompt in load_prompts():
            for fact in prompt["facts"]:
                self.assertTrue(is_held_out(fact), fact)
                self.assertIn(fact, prompt["context"])
                self.assertNotIn(fact, prompt["query"])

    def test_no_training_document_holds_a_held_out_word(self):
        for role in ("llm", "slm"):
            generator, rng = data.Generator(load_tokenizer(), role, 1), random.Random(5)
            for i in range(2000):
                text = generator.tokenizer.decode(generator.document(rng, i % 4 > 0)[0]).lower()
                seen = set("".join(c if c.isalpha() else " " for c in text).split())
                self.assertEqual(seen & HELD_OUT_WORDS, set())


class Prompts(unittest.TestCase):
    def test_there_are_200_from_all_requests_half_of_them_ordinary_words(self):
        prompts = load_prompts()
        self.assertEqual(len(prompts), 200)
        self.assertEqual({prompt["kind"] for prompt in prompts}, set(REQUESTS))
        self.assertAlmostEqual(sum(prompt["values"] == "ordinary" for prompt in prompts), 100, delta=8)

    def test_they_are_what_the_generator_makes(self):
        self.assertEqual(load_prompts(), list(data.held_out_prompts(7, 200)))

    def test_requirements_on_variety_hold(self):
        self.assertGreaterEqual(len(REQUESTS), 12)
        self.assertGreaterEqual(len({kind for request in REQUESTS for kind in data.slot_kinds(request)}), 9)
        for request in REQUESTS:
            self.assertGreaterEqual(len(data.slot_kinds(request)), 3)


class Documents(unittest.TestCase):
    def test_answers_carry_the_values_of_the_notes(self):
        rng = random.Random(3)
        for _ in range(500):
            request = rng.choice(sorted(REQUESTS))
            facts, listed = data.person_facts(rng, request, (), 3, 0.0)
            answer = data.compose(rng, request, facts, 0.5)
            for value in facts.values():
                self.assertIn(value, answer)
            self.assertTrue(set(facts.items()) <= set(listed))

    def test_the_same_seed_and_index_give_the_same_batches(self):
        make = lambda: data.Generator(load_tokenizer(), "slm", 1).group(3, 2048, 0.3)
        for first, second in zip(make(), make()):
            for one, other in zip(first, second):
                self.assertTrue(all((a == b).all() for a, b in zip(one, other)))

    def test_the_token_after_a_fact_weighs_like_the_fact(self):
        generator = data.Generator(load_tokenizer(), "llm", 1)
        ids, weights = [], []
        generator._add_answer(ids, weights, f"Hi{data.FACT_BEGIN} Bo{data.FACT_END}. So", 1.0, 2.0)
        stop = ids.index(generator.tokenizer.encode(".")[0])
        self.assertEqual(weights[stop], 2.0)
        self.assertEqual(weights[stop + 1], 1.0)


class Pieces(unittest.TestCase):
    def test_text_survives_the_round_trip(self):
        tokenizer = load_tokenizer()
        for text in ("Soraya's dog, Rufus.", "naïve Łódź 日本 😀", "a  b\n\tc", "1,024 = 2^10"):
            self.assertEqual(tokenizer.decode(tokenizer.encode(text)), text)

    def test_a_word_is_split_the_same_whatever_follows_it(self):
        tokenizer = load_tokenizer()
        word = tokenizer.encode(" Soraya")
        for rest in (".", "\n", ", and", "'s", " is"):
            self.assertEqual(tokenizer.encode(" Soraya" + rest)[:len(word)], word)


if __name__ == "__main__":
    unittest.main()
