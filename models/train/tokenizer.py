"""The pair's tokenizer: SentencePiece-like BPE with byte fallback, exactly as llama.cpp's "llama" type works.

Only runs of letters, with or without the space before them, are ever merged. So a word is split the
same way wherever it stands and whatever follows it, which is what copying from notes needs; digits,
punctuation and line ends are always pieces of their own.
"""

import collections
import json
import re

SPACE = "\u2581"
SPECIAL = ["<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
UNK, END_OF_TEXT, IM_START, IM_END = range(4)
FIRST_BYTE = len(SPECIAL)
FIRST_PIECE = FIRST_BYTE + 256
# Below 1, so that the many different fact values count for more than the few words of the phrasings.
DAMPING = 0.6
CHUNK = re.compile(SPACE + r"?[^\W\d_]+|.", re.DOTALL)


class Tokenizer:
    """Pieces in id order; the earlier a merged piece stands, the earlier it is merged."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.ids = {piece: i for i, piece in enumerate(pieces) if i >= FIRST_PIECE}
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file)["pieces"])

    def encode_chunk(self, chunk):
        """Ids of one chunk: merge the neighbours whose joint piece comes first, leftmost on a tie."""
        known = self.cache.get(chunk)
        if known is not None:
            return known
        parts = list(chunk)
        while len(parts) > 1:
            best = min(((self.ids.get(parts[i] + parts[i + 1], 1 << 30), i) for i in range(len(parts) - 1)))
            if best[0] == 1 << 30:
                break
            parts[best[1]:best[1] + 2] = [parts[best[1]] + parts[best[1] + 1]]
        out = []
        for part in parts:
            if part in self.ids:
                out.append(self.ids[part])
            else:
                out.extend(FIRST_BYTE + byte for byte in part.encode("utf-8"))
        if len(self.cache) < 200000:
            self.cache[chunk] = out
        return out

    def encode(self, text):
        out = []
        for chunk in CHUNK.findall(text.replace(" ", SPACE)):
            out.extend(self.encode_chunk(chunk))
        return out

    def decode(self, ids):
        raw = bytearray()
        for i in ids:
            if FIRST_BYTE <= i < FIRST_PIECE:
                raw.append(i - FIRST_BYTE)
            elif i >= FIRST_PIECE:
                raw += self.pieces[i].replace(SPACE, " ").encode("utf-8")
        return raw.decode("utf-8", errors="replace")

    def letter_pieces(self):
        """Pieces made of letters only, without the space: the parts of `values.piece_word`."""
        return [piece for piece in self.pieces[FIRST_PIECE:] if piece.isalpha() and piece.isascii()]


def train(texts, size):
    """Learn `size` pieces from the texts by byte-pair merging of letter chunks."""
    counts = collections.Counter()
    for text in texts:
        counts.update(CHUNK.findall(text.replace(" ", SPACE)))
    letters = collections.Counter()
    for chunk, count in counts.items():
        for letter in chunk:
            letters[letter] += count
    base = sorted(set(letters) | {chr(c) for c in range(33, 127)} | {SPACE, "\n"})
    pieces = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + base
    for chunk in counts:
        counts[chunk] = round(1000 * counts[chunk] ** DAMPING)
    chunks = {chunk: list(chunk) for chunk in counts if len(chunk) > 1}
    while len(pieces) < size:
        pairs = collections.Counter()
        for chunk, parts in chunks.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[chunk]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        pieces.append(best[0] + best[1])
        _merge(chunks, best)
    return pieces


def _merge(chunks, pair):
    joint = pair[0] + pair[1]
    for chunk, parts in chunks.items():
        if joint not in chunk:
            continue
        i = 0
        while i + 1 < len(parts):
            if parts[i] == pair[0] and parts[i + 1] == pair[1]:
                parts[i:i + 2] = [joint]
            i += 1
