"""Training documents and copying exercises, deterministic from (seed, step).

A document is a chat turn in ChatML: notes and request (or the request alone) and the answer. Every
token has a weight in the loss. Facts weigh most, with the token after them, which ends the value.
"""

import json
import math
import random
import re

import numpy

import tokenizer as tok
from notes import WORDINGS, render_notes
from phrasings import REQUESTS
from values import KINDS, held_out_value, ordinary_value, training_value

FACT_BEGIN, FACT_END = "\x01", "\x02"
CHOICE = re.compile(r"\[([^\]]*)\]")
FACT = re.compile(r" ?\{(\w+)\}")
PROMPT_WEIGHT = 0.05
# Between notes and request there is an empty line; notes that end with a line end of their own make it two.
NOTES_ENDS = ["\n\n"] * 9 + ["\n\n\n"]


def expand(rng, template):
    """Pick one alternative in every bracket."""
    return CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), template)


def slot_kinds(request):
    return [kind for slot in REQUESTS[request][2] for kind in slot[0]]


def join_sentences(sentences):
    """One paragraph; a sentence begins with a capital unless it follows a comma."""
    text = ""
    for sentence in sentences:
        if sentence:
            if not text.endswith(","):
                sentence = sentence[0].upper() + sentence[1:]
            text += (" " if text else "") + sentence
    return text


def compose(rng, request, facts, plain_share):
    """The answer text with its facts between marks; a slot whose facts are not known is left out."""
    _, opening, slots, closing = REQUESTS[request]
    sentences = [expand(rng, rng.choice(opening))]
    for kinds, rich, plain in slots:
        if all(kind in facts for kind in kinds):
            sentences.append(expand(rng, rng.choice(plain if rng.random() < plain_share else rich)))
    sentences.append(expand(rng, rng.choice(closing)))
    text = join_sentences(sentences)

    def mark(match):
        space = " " if match.group(0)[0] == " " else ""
        return FACT_BEGIN + space + facts[match.group(1)] + FACT_END

    return FACT.sub(mark, text)


def query_text(rng, request):
    """A wording of the request, now and then without its full stop or in lower case."""
    text = expand(rng, rng.choice(REQUESTS[request][0])).replace(" .", ".").replace(" ?", "?")
    if rng.random() < 0.15:
        text = text.rstrip(".?")
    return text


def person_facts(rng, request, pieces, n_other, drop_share):
    """Facts for the request, some perhaps missing, and the list for the notes with facts nobody asked for."""
    facts = {kind: training_value(rng, kind, pieces) for kind in slot_kinds(request)}
    if rng.random() < drop_share:
        for kind in rng.sample(sorted(facts), rng.choice((1, 1, 2))):
            del facts[kind]
    needed = set(slot_kinds(request))
    others = [kind for kind in sorted(KINDS) if kind not in needed]
    listed = list(facts.items())
    if n_other <= len(others):
        chosen = rng.sample(others, n_other)
    else:
        chosen = [rng.choice(others) for _ in range(n_other)]
    listed += [(kind, training_value(rng, kind, pieces)) for kind in chosen]
    rng.shuffle(listed)
    return facts, listed


class Generator:
    """Makes the documents and exercises of one role ("llm" or "slm")."""

    def __init__(self, tokenizer, role, seed, ordinary=0.0):
        """`ordinary`: in documents without notes, the share of facts that are invented from ordinary words alone,
        so that what the LLM makes up reads well."""
        self.tokenizer, self.role, self.seed, self.ordinary = tokenizer, role, seed, ordinary
        self.pieces = tokenizer.letter_pieces()
        self.space_pieces = [i for i, piece in enumerate(tokenizer.pieces) if piece[0] == tok.SPACE and len(piece) > 1]
        self.inner_pieces = [tokenizer.ids[piece] for piece in self.pieces]

    def answer_style(self, rng):
        """(share of plain sentences, weight of tokens outside the facts) for one document.

        The LLM writes all phrasings. The SLM learns to write the plain ones and sees the rich ones
        mainly to learn to read: their wording weighs little, their facts weigh fully.
        """
        if self.role == "llm":
            return 0.08, 1.0
        return (1.0, 1.0) if rng.random() < 0.4 else (0.08, 0.3)

    def document(self, rng, with_notes, long_notes=False):
        """(token ids, weights) of one chat turn."""
        request = rng.choice(sorted(REQUESTS))
        n_other = rng.randint(14, 34) if long_notes else rng.randint(0, 7)
        facts, listed = person_facts(rng, request, self.pieces, n_other, 0.3 if with_notes else 0.0)
        if not with_notes and self.ordinary > 0:
            facts = {kind: ordinary_value(rng, kind) if rng.random() < self.ordinary else value
                     for kind, value in facts.items()}
        plain_share, frame_weight = self.answer_style(rng)
        prompt = query_text(rng, request)
        if with_notes:
            prompt = render_notes(rng, listed) + rng.choice(NOTES_ENDS) + prompt
        ids = [tok.IM_START] + self.tokenizer.encode("user\n" + prompt) + [tok.IM_END]
        ids += self.tokenizer.encode("\n") + [tok.IM_START] + self.tokenizer.encode("assistant\n")
        weights = [0.5 if rng.random() < PROMPT_WEIGHT / 0.5 else 0.0 for _ in ids]
        answer = compose(rng, request, facts, plain_share)
        self._add_answer(ids, weights, answer, frame_weight, 2.0 if with_notes else 0.5)
        return ids, weights

    def _add_answer(self, ids, weights, answer, frame_weight, fact_weight):
        inside, after = False, False
        for chunk in tok.CHUNK.findall(answer.replace(" ", tok.SPACE)):
            if chunk == FACT_BEGIN:
                inside = True
            elif chunk == FACT_END:
                inside, after = False, True
            else:
                part = self.tokenizer.encode_chunk(chunk)
                weight = fact_weight if inside else max(fact_weight, frame_weight) if after else frame_weight
                ids += part
                weights += [weight] * len(part)
                after = after and inside
        ids.append(tok.IM_END)
        weights.append(frame_weight)

    def _random_value(self, rng):
        """Token ids of something to copy: a fact value or random pieces."""
        if rng.random() < 0.5:
            value = training_value(rng, rng.choice(sorted(KINDS)), self.pieces)
            return self.tokenizer.encode(" " + value)
        ids = [rng.choice(self.space_pieces)]
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
            draw = rng.random()
            ids.append(rng.choice(self.inner_pieces) if draw < 0.9 else rng.randrange(tok.FIRST_BYTE, len(self.tokenizer.pieces)))
        return ids

    def repeat_exercise(self, rng, length):
        """Random tokens, then stretches of them again; only the repeats after their first token count."""
        shortest = 4  # a few tokens are the first that a model learns to copy; the log scale keeps long ones frequent
        size = round(math.exp(rng.uniform(math.log(shortest), math.log(length / 2))))
        source = [rng.randrange(tok.FIRST_BYTE, len(self.tokenizer.pieces)) if rng.random() < 0.15
                  else rng.choice(self.inner_pieces if rng.random() < 0.6 else self.space_pieces)
                  for _ in range(size)]
        ids, weights = list(source), [0.0] * len(source)
        while len(ids) < length:
            start = rng.randrange(size - 2)
            stretch = source[start:start + rng.randint(3, 16)]
            ids += stretch
            weights += [0.0] + [1.0] * (len(stretch) - 1)
        return ids[:length], weights[:length]

    def lookup_exercise(self, rng, length):
        """A key: value list, then keys asked again; only the values asked for count."""
        colon, newline = self.tokenizer.encode(":")[0], self.tokenizer.encode("\n")[0]
        pairs, ids, keys = [], [], set()
        limit = length * rng.uniform(0.1, 0.65)
        while len(ids) < limit:
            label = rng.choice(WORDINGS[rng.choice(sorted(WORDINGS))][0]) if rng.random() < 0.5 else \
                self.tokenizer.pieces[rng.choice(self.space_pieces)][1:]
            if label in keys:
                continue
            keys.add(label)
            pairs.append((self.tokenizer.encode(label) + [colon], self._random_value(rng) + [newline]))
            ids += pairs[-1][0] + pairs[-1][1]
        weights = [0.0] * len(ids)
        while len(ids) < length:
            key, value = rng.choice(pairs)
            ids += key + value
            weights += [0.0] * len(key) + [1.0] * len(value)
        return ids[:length], weights[:length]

    def exercise(self, rng, length):
        maker = self.repeat_exercise if rng.random() < 0.5 else self.lookup_exercise
        return maker(rng, length)

    def group(self, index, tokens, exercise_share, steps=4):
        """The batches of `steps` steps: for each a list of (ids, targets, weights) arrays.

        Documents with notes are sorted by length over the whole group, so rows need little padding.
        One step in the group of every third index has long notes.
        """
        rng = random.Random(f"{self.seed}/{self.role}/{index}")
        n_documents = max(8, int(tokens * (1 - exercise_share) * 0.75 / 150))
        documents = [self.document(rng, True) for _ in range(n_documents * steps)]
        documents.sort(key=lambda item: len(item[0]))
        parts = [documents[i * n_documents:(i + 1) * n_documents] for i in range(steps)]
        if index % 3 == 0:
            parts[0] = [self.document(rng, True, True) for _ in range(max(2, n_documents * 2 // 5))]
        rng.shuffle(parts)
        batches = []
        for part in parts:
            short = [self.document(rng, False) for _ in range(max(2, n_documents // 3))]
            length = max(len(item[0]) for item in short)
            short += [self.exercise(rng, length) for _ in range(int(tokens * exercise_share / length))]
            batches.append([stack(part), stack(short)])
        return batches


def stack(documents):
    """Pad to the longest row: (ids, targets, weights), targets being the ids one step ahead."""
    length = max(len(ids) for ids, _ in documents)
    ids = numpy.zeros((len(documents), length), numpy.int64)
    weights = numpy.zeros((len(documents), length), numpy.float32)
    for row, (row_ids, row_weights) in enumerate(documents):
        ids[row, :len(row_ids)] = row_ids
        weights[row, :len(row_ids)] = row_weights
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]


def corpus(seed, count):
    """Texts to learn the tokenizer from."""
    rng = random.Random(f"{seed}/corpus")
    for _ in range(count):
        request = rng.choice(sorted(REQUESTS))
        facts, listed = person_facts(rng, request, (), rng.randint(0, 7), 0.0)
        answer = compose(rng, request, facts, rng.choice((0.0, 0.0, 1.0)))
        yield render_notes(rng, listed) + "\n\n" + query_text(rng, request) + "\n" + \
            answer.replace(FACT_BEGIN, "").replace(FACT_END, "")


def held_out_prompts(seed, count):
    """Evaluation prompts whose every fact value is unseen: half ordinary words, half made-up spelling."""
    rng = random.Random(f"{seed}/held-out")
    names = sorted(REQUESTS)
    for i in range(count):
        request, ordinary = names[i % len(names)], (i // len(names)) % 2 == 0
        needed = slot_kinds(request)
        others = rng.sample([kind for kind in sorted(KINDS) if kind not in needed], rng.randint(1, 5))
        facts, seen = {}, set()
        for kind in needed + others:
            facts[kind] = held_out_value(rng, kind, ordinary)
            while facts[kind] in seen:
                facts[kind] = held_out_value(rng, kind, ordinary)
            seen.add(facts[kind])
        listed = list(facts.items())
        rng.shuffle(listed)
        yield {"id": i, "kind": request, "values": "ordinary" if ordinary else "made-up",
               "query": query_text(rng, request), "context": render_notes(rng, listed),
               "facts": [facts[kind] for kind in needed]}


def write_held_out(path, seed, count):
    with open(path, "w", encoding="utf-8") as file:
        for prompt in held_out_prompts(seed, count):
            file.write(json.dumps(prompt, ensure_ascii=False) + "\n")
