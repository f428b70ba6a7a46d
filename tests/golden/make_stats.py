#!/usr/bin/env python3
"""Golden intervals and p-values, from an implementation of docs/evaluation.md that shares nothing with the C code.

    tests/golden/make_stats.py            write tests/golden/stats.json
    tests/golden/make_stats.py --check    change nothing; exit 1 when the file differs
"""
import json
import math
import pathlib
import sys
from fractions import Fraction

FILE = pathlib.Path(__file__).resolve().parent / "stats.json"
MASK = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10 (Salmon et al., SC'11)."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k, q & MASK, (p >> 32) ^ d ^ m, p & MASK
        k, m = (k + 0x9E3779B9) & MASK, (m + 0xBB67AE85) & MASK
    return a, b, c, d


def draw_words(seed, number, kind):
    block = 0
    while True:
        yield from philox((block, number, kind, 0), (seed & MASK, seed >> 32))
        block += 1


def draw_rows(seed, number, n):
    """n numbers below n. A word x stands for floor(x n / 2^32), words whose remainder is below 2^32 mod n for none."""
    rows = []
    for word in draw_words(seed, number, 0):
        high, low = divmod(word * n, 2 ** 32)
        if low >= 2 ** 32 % n:
            rows.append(high)
        if len(rows) == n:
            return rows


def interval(value, rounds):
    rounds = sorted(rounds)
    k = max(1, int(Fraction(len(rounds) + 1) * Fraction(25, 1000)))
    return [value, rounds[k - 1], rounds[-k]]


def bootstrap(tops, bottoms, seed, n_rounds):
    rounds = []
    for number in range(n_rounds):
        rows = draw_rows(seed, number, len(tops))
        bottom = sum(bottoms[i] for i in rows)
        if bottom > 0:
            rounds.append(math.fsum(tops[i] for i in rows) / bottom)
    return interval(math.fsum(tops) / sum(bottoms), rounds)


def permutation(a, b, seed, n_rounds):
    differences = [x - y for x, y in zip(a, b)]
    n = len(differences)
    observed = abs(math.fsum(differences)) - 1e-12 * math.fsum(map(abs, differences))
    exact = 2 ** n <= n_rounds
    extreme = 0
    for number in range(2 ** n if exact else n_rounds):
        words = draw_words(seed, number, 1)
        pattern = number if exact else sum(next(words) << 32 * i for i in range((n + 31) // 32))
        extreme += abs(math.fsum(-d if pattern >> i & 1 else d for i, d in enumerate(differences))) >= observed
    return extreme / 2 ** n if exact else (extreme + 1) / (n_rounds + 1)


def numbers(seed, n, scale):
    """Numbers of [0, scale), exact in binary and in decimal."""
    words = draw_words(seed, 0, 99)
    return [next(words) % 1024 / 1024 * scale for _ in range(n)]


def cases():
    for n, seed, n_rounds in [(1, 0, 100), (2, 1, 1), (3, 2, 39), (5, 3, 40), (7, 2 ** 63 + 5, 200), (13, 8, 1000), (14, 9, 8192),
                              (31, 4, 500), (32, 4, 500), (33, 4, 500), (200, 20260, 1000), (1000, 2 ** 64 - 1, 60)]:
        a, b = numbers(n, n, 1), numbers(n + 5000, n, 1.25)
        weights = [int(w) for w in numbers(n + 9000, n, 64)]
        weights[0] = max(weights[0], 1)
        yield {"a": a, "b": b, "weights": weights, "seed": str(seed), "n_rounds": n_rounds,
               "mean": bootstrap(a, [1] * n, seed, n_rounds), "ratio": bootstrap(a, weights, seed, n_rounds),
               "p": permutation(a, b, seed, n_rounds)}
    for a, b in [([1, 1, 1], [1, 1, 1]), ([3, 2, 5, 4], [1, 1, 1, 1]), ([0.1, 0.2, 0.3], [0.3, 0.1, 0.2]), ([1] * 40, [0.5] * 40)]:
        n = len(a)
        yield {"a": a, "b": b, "weights": [1] * n, "seed": "11", "n_rounds": 64, "mean": bootstrap(a, [1] * n, 11, 64),
               "ratio": bootstrap(a, [1] * n, 11, 64), "p": permutation(a, b, 11, 64)}


def main():
    text = "[\n" + ",\n".join(json.dumps(case) for case in cases()) + "\n]\n"
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text(encoding="utf-8") != text:
            print("stats.json is not what make_stats.py makes", file=sys.stderr)
            return 1
        return 0
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
