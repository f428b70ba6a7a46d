"""First weights that already copy a little.

Copying from notes rests on two attention heads in a row: one that looks at the token before, and one that looks
for an earlier place where the token before was the present one, and repeats what followed. Gradient descent finds
them late and suddenly. Planted in rough form in the first two layers they are there from the first step, and
training only has to sharpen them. Everything else keeps its random start; nothing is frozen.

Coordinates of the embedding: 0 is the same for all tokens, 1..head_dim start near zero and receive a projection of
the token before, the rest is the token's own.
"""

import torch

EMBEDDING_SCALE = 0.3
CONSTANT = 1.2          # coordinate 0 of every token; about 4 after the first norm
LOOK_BACK = 1.4         # weight from the constant to query and key of the look-back head: a clear peak one token back
MATCH = 2.4             # weight of the projections that are compared: a match then scores 14, a chance pair 3.8 (one sigma)
COPY = 1.6              # weight of value and output of the matching heads
NOISE = 0.1             # what is left of the random start in the planted rows
SLOW_PAIRS = 7          # rotary pairs slow enough to compare tokens a hundred positions apart


def _rows(parameters, layer, part, head):
    """The rows of one head in the joint matrix; part 0 query, 1 key, 2 value."""
    shape = parameters.shape
    begin = part * shape.width + head * shape.head_dim
    rows = parameters[f"{layer}.qkv"][begin:begin + shape.head_dim]
    rows.mul_(NOISE)
    return rows


def _unit_rows(rows, columns):
    matrix = torch.randn(rows, columns)
    return matrix / matrix.norm(dim=1, keepdim=True)


def plant(parameters):
    """Shape embeddings, layer 0 and layer 1 of freshly drawn parameters, in place."""
    dim = parameters.shape.head_dim
    own = slice(1 + dim, parameters.shape.width)
    embedding = parameters["embedding"]
    embedding[:, 0] = CONSTANT
    embedding[:, 1:1 + dim] *= 0.05
    projection = _unit_rows(dim, parameters.shape.width - 1 - dim)
    _plant_look_back(parameters, projection, own)
    for head in range(parameters.shape.heads):
        _plant_match(parameters, head, projection, own)


def _plant_look_back(parameters, projection, own):
    """Layer 0, head 0: attend one token back by position alone, write its projection to coordinates 1..head_dim."""
    shape, dim = parameters.shape, parameters.shape.head_dim
    angle = shape.rope_base ** (-torch.arange(0, dim, 2).float() / dim)
    query, key, value = (_rows(parameters, 0, part, 0) for part in range(3))
    query[0::2, 0] = LOOK_BACK
    query[1::2, 0] = 0.0
    key[0::2, 0] = LOOK_BACK * torch.cos(angle)
    key[1::2, 0] = LOOK_BACK * torch.sin(angle)
    value[:, own] += projection
    out = parameters["0.out"][:, :dim]
    out.mul_(NOISE)
    out[1:1 + dim] += torch.eye(dim) * EMBEDDING_SCALE


def _plant_match(parameters, head, projection, own):
    """Layer 1: compare the present token with the token before each place; repeat the token at that place.

    Every head compares another mixture in its slow rotary pairs, and repeats its share of the coordinates.
    """
    shape, dim = parameters.shape, parameters.shape.head_dim
    slow = slice(dim - 2 * SLOW_PAIRS, dim)
    mixture = _unit_rows(2 * SLOW_PAIRS, dim)
    query, key, value = (_rows(parameters, 1, part, head) for part in range(3))
    query[slow, own] += MATCH * mixture @ projection
    key[slow, 1:1 + dim] += MATCH * mixture
    begin = own.start + head * dim
    count = max(0, min(dim, shape.width - begin))
    out = parameters["1.out"][:, head * dim:(head + 1) * dim]
    out.mul_(NOISE)
    for i in range(count):
        value[i, begin + i] += COPY
        out[begin + i, i] += COPY
