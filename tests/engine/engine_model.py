"""The built-in LLM as the conformance servers see it: logits through engine_logits (logits_pipe.c), and what engines do with them.

Log-probabilities are computed as in src/cloud/top_k.c (logit minus the log of the sum of exp in double, then float32), so that what
an engine's JSON carries equals the base of a local cloud to the bit, as long as logits_pipe.c still keeps the prompt.
"""
import array
import codecs
import dataclasses
import math
import pathlib
import random
import struct
import subprocess
import threading


class ModelError(ValueError):
    """The model's own message: too long, an id out of range."""


@dataclasses.dataclass
class Token:
    is_end: bool
    is_special: bool
    piece: bytes  # empty for special ones
    name: str  # as the vocabulary spells it

    @property
    def text(self):
        """As an engine's tokenizer decodes this token alone: several tokens that are parts of characters look the same."""
        return self.name if self.is_special else self.piece.decode("utf-8", "replace")


class Model:
    def __init__(self, program, path):
        self.path = pathlib.Path(path)
        self.process = subprocess.Popen([str(program), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lock = threading.Lock()
        info = self._ask(b"I")
        self.n_vocab, self.n_ctx, self.bos = struct.unpack_from("<iii", info)
        self.name = info[12:].decode("utf-8", "replace")
        self.tokens = [self._token(i) for i in range(self.n_vocab)]

    def _ask(self, kind, payload=b""):
        with self.lock:
            self.process.stdin.write(kind + struct.pack("<I", len(payload)) + payload)
            self.process.stdin.flush()
            status, size = struct.unpack("<BI", self._read(5))
            answer = self._read(size)
        if status:
            raise ModelError(answer.decode("utf-8", "replace"))
        return answer

    def _read(self, size):
        data = self.process.stdout.read(size)
        if len(data) != size:
            raise RuntimeError(f"engine_logits ended with {self.process.poll()}")
        return data

    def _token(self, token):
        answer = self._ask(b"P", struct.pack("<i", token))
        flags, size = struct.unpack_from("<II", answer)
        return Token(bool(flags & 1), bool(flags & 2), answer[8 : 8 + size], answer[8 + size :].decode("utf-8", "replace"))

    def tokenize(self, text, add_special=True):
        """Spellings of special tokens are read as those tokens, as Hugging Face's tokenizers do."""
        return self._ids(self._ask(b"T", bytes([2 | bool(add_special)]) + text.encode()))

    def prompt(self, query):
        """What `costeer generate` sends for this query."""
        return self._ids(self._ask(b"Q", query.encode()))

    @staticmethod
    def _ids(answer):
        return list(struct.unpack(f"<{len(answer) // 4}i", answer))

    def detokenize(self, ids, skip_special=False):
        parts = [t.name.encode() if t.is_special and not skip_special else t.piece for t in map(self.tokens.__getitem__, ids)]
        return b"".join(parts).decode("utf-8", "replace")

    def logits(self, ids):
        """(logits [n_vocab], log of the sum of their exp, tokens of ids that were computed before)."""
        answer = self._ask(b"L", struct.pack(f"<{len(ids)}i", *ids))
        n_reused, _, normaliser = struct.unpack_from("<IId", answer)
        values = array.array("f")
        values.frombytes(answer[16:])
        return values.tolist(), normaliser, n_reused


# ---- what is done with logits ------------------------------------------------------------------------------------------


def logsumexp(logits):
    top = max(logits)
    return top + math.log(math.fsum(math.exp(value - top) for value in logits))


def logprobs(logits, normaliser=None):
    """float32 values, as Python floats."""
    normaliser = logsumexp(logits) if normaliser is None else normaliser
    return array.array("f", [min(0.0, value - normaliser) for value in logits]).tolist()


def best(values, k):
    """[(id, value)], descending, ties by the lower id."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    return [(i, values[i]) for i in order[:k]]


@dataclasses.dataclass
class Sampling:
    """The part of a request that decides about the engine's own token; names are the field's."""

    max_tokens: int = 16
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict = dataclasses.field(default_factory=dict)  # id: nats
    ignore_eos: bool = False
    stop_token_ids: tuple = ()
    seed: int = 0

    @property
    def is_greedy(self):
        return self.temperature < 1e-5

    def penalise(self, logits, prompt, output):
        """Bias and penalties, before the temperature."""
        changed = list(logits)
        for token, bias in self.logit_bias.items():
            changed[token] += bias
        if self.repetition_penalty != 1.0:
            for token in set(prompt) | set(output):
                value = changed[token]
                changed[token] = value / self.repetition_penalty if value > 0 else value * self.repetition_penalty
        for token in set(output):
            changed[token] -= self.frequency_penalty * output.count(token) + self.presence_penalty
        return changed

    def warm(self, logits):
        return logits if self.is_greedy else [value / self.temperature for value in logits]

    def choose(self, logits, generator):
        """logits: penalised and warm."""
        if self.is_greedy:
            return max(range(len(logits)), key=lambda i: (logits[i], -i))
        kept = best(logits, self.top_k if self.top_k > 0 else len(logits))
        weights = [math.exp(value - kept[0][1]) for _, value in kept]
        total, mass, n = math.fsum(weights), 0.0, 0
        for weight in weights:
            if n > 0 and (mass >= self.top_p * total or weight < self.min_p):
                break
            mass += weight
            n += 1
        return generator.choices([token for token, _ in kept[:n]], weights[:n])[0]


@dataclasses.dataclass
class Step:
    """One generated token. `top` is what the engine will tell of the distribution; faults change it before it is written."""

    token: int
    logprob: float
    top: list  # [(id, value)]
    text: str
    finish: str = None  # "stop", "length"
    is_end: bool = False
    matched: int = None  # of finish "stop": the token


class Generation:
    """An answer being generated: an iterator of steps. `values_of(raw, penalised, normaliser)` gives what is reported per token."""

    def __init__(self, model, prompt, sampling, top_k, values_of):
        self.model, self.prompt, self.sampling, self.top_k = model, list(prompt), sampling, top_k
        self.values_of = values_of
        self.output, self.n_cached, self.text = [], 0, ""
        self.random = random.Random(sampling.seed)
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")  # text waits for whole characters

    def __iter__(self):
        while len(self.output) < self.sampling.max_tokens:
            step = self.step()
            yield step
            if step.finish:
                return

    def step(self):
        raw, normaliser, n_cached = self.model.logits(self.prompt + self.output)
        if not self.output:
            self.n_cached = n_cached
        penalised = self.sampling.penalise(raw, self.prompt, self.output)
        token = self.sampling.choose(self.sampling.warm(penalised), self.random)
        values = self.values_of(raw, penalised, normaliser)
        self.output.append(token)
        stops = self.model.tokens[token].is_end and not self.sampling.ignore_eos or token in self.sampling.stop_token_ids
        finish = "stop" if stops else "length" if len(self.output) == self.sampling.max_tokens else None
        text = self.decoder.decode(b"" if stops else self.model.tokens[token].piece, finish is not None)
        self.text += text
        return Step(token, values[token], best(values, self.top_k), text, finish, self.model.tokens[token].is_end,
                    token if stops else None)  # fmt: skip


def prompt_steps(model, prompt, k, values_of):
    """Steps for the tokens of a prompt, as echo writes them; the first has no distribution."""
    steps = [Step(prompt[0], None, None, model.tokens[prompt[0]].text)]
    for at in range(1, len(prompt)):
        raw, normaliser, _ = model.logits(prompt[:at])
        values = values_of(raw, raw, normaliser)
        steps.append(Step(prompt[at], values[prompt[at]], best(values, k), model.tokens[prompt[at]].text))
    return steps


def common_prefix(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


class PrefixCache:
    """How much of a prompt an engine would have found computed: of the sequences it has seen, whole blocks."""

    def __init__(self, block):
        self.block = block
        self.seen = []
        self.lock = threading.Lock()

    def find(self, prompt, limit=None):
        """Tokens found, at most `limit` (default: all but the last, which is always computed)."""
        limit = len(prompt) - 1 if limit is None else min(limit, len(prompt) - 1)
        with self.lock:
            n = max((common_prefix(prompt, seen) for seen in self.seen), default=0)
        return min(n, limit) // self.block * self.block

    def add(self, ids):
        with self.lock:
            self.seen = [*self.seen[-31:], list(ids)]
