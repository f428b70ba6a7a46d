"""A small Llama: RMSNorm, rotary positions (neighbouring pairs, as llama.cpp's "llama"), SwiGLU, tied embeddings.

Everything is float32 on the CPU. At this size the time goes into memory-bound passes, so projections
are fused (q, k, v in one, gate and up in one) and all parameters are views of one flat tensor, which
makes the optimizer a handful of passes over one array.
"""

import dataclasses
import math

import torch
import torch.nn.functional as functional

import planting
from planting import EMBEDDING_SCALE


@dataclasses.dataclass
class Shape:
    """Sizes of a model; head_dim divides width."""
    vocab: int
    width: int
    layers: int
    head_dim: int
    ffn: int
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def heads(self):
        return self.width // self.head_dim


def parameter_shapes(shape):
    """(name, sizes) of every parameter in order; matrices first, norms last."""
    matrices = [("embedding", (shape.vocab, shape.width))]
    norms = [("final_norm", (shape.width,))]
    for i in range(shape.layers):
        matrices += [(f"{i}.qkv", (3 * shape.width, shape.width)), (f"{i}.out", (shape.width, shape.width)),
                     (f"{i}.gate_up", (2 * shape.ffn, shape.width)), (f"{i}.down", (shape.width, shape.ffn))]
        norms += [(f"{i}.attention_norm", (shape.width,)), (f"{i}.ffn_norm", (shape.width,))]
    return matrices + norms


class Parameters:
    """All parameters as views of `flat`, their gradients as views of `gradient`."""

    def __init__(self, shape, seed):
        self.shape = shape
        sizes = [(name, dims, math.prod(dims)) for name, dims in parameter_shapes(shape)]
        self.flat = torch.empty(sum(size for _, _, size in sizes))
        self.gradient = torch.zeros_like(self.flat)
        self.n_matrices = sum(size for _, dims, size in sizes if len(dims) == 2)
        self.by_name, offset = {}, 0
        torch.manual_seed(seed)
        for name, dims, size in sizes:
            view = self.flat[offset:offset + size].view(dims)
            self._initialise(name, view)
            parameter = torch.nn.Parameter(view)
            parameter.grad = self.gradient[offset:offset + size].view(dims)
            self.by_name[name] = parameter
            offset += size
        with torch.no_grad():
            planting.plant(self)

    def _initialise(self, name, view):
        """Embeddings large beside what the layers add, so that a token stays readable and can be copied;
        the final norm small, so that the first distributions are nearly flat all the same."""
        if view.dim() == 1:
            view.fill_(0.15 if name == "final_norm" else 1.0)
        elif name == "embedding":
            view.normal_(0, EMBEDDING_SCALE)
        else:
            scale = 1 / math.sqrt(view.shape[1])
            if name.endswith((".out", ".down")):
                scale *= 0.5 / math.sqrt(2 * self.shape.layers)
            view.normal_(0, scale)

    def __getitem__(self, name):
        return self.by_name[name]


def rope_table(shape, length):
    """cos and sin, [length, 1, head_dim / 2]."""
    frequency = shape.rope_base ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angle = torch.arange(length).float()[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)[:, None, :]


def rotate(x, table):
    """Turn neighbouring pairs of [batch, time, heads, head_dim] by their position's angle."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2)


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


class Llama:
    """Forward passes over `Parameters`."""

    def __init__(self, parameters, max_length=1024):
        self.p, self.shape = parameters, parameters.shape
        self.table = rope_table(self.shape, max_length)
        self.mask = torch.full((max_length, max_length), float("-inf")).triu(1)

    def bias(self, past, time, padding):
        """What is added to the scores: the causal mask and, per row, a mask of the padding before the prompt."""
        causal = self.mask[past:past + time, :past + time]
        if padding is None:
            return causal
        padded = torch.arange(past + time)[None, :] < padding[:, None]
        return (causal + padded[:, None, :] * -1e9).repeat_interleave(self.shape.heads, 0)

    def attention(self, x, layer, cache, padding):
        """Causal self-attention; with a cache, x continues what the cache holds."""
        shape, (batch, time, _) = self.shape, x.shape
        qkv = functional.linear(x, self.p[f"{layer}.qkv"]).view(batch, time, 3 * shape.heads, shape.head_dim)
        past = cache[layer][0].shape[1] if cache and cache[layer] else 0
        qk = rotate(qkv[:, :, :2 * shape.heads], self.table[past:past + time])
        query, key, value = qk[:, :, :shape.heads], qk[:, :, shape.heads:], qkv[:, :, 2 * shape.heads:]
        if cache is not None:
            if past:
                key, value = torch.cat((cache[layer][0], key), 1), torch.cat((cache[layer][1], value), 1)
            cache[layer] = (key, value)
        flat = (batch * shape.heads, -1, shape.head_dim)
        query, key, value = (part.transpose(1, 2).reshape(flat) for part in (query, key, value))
        scores = torch.baddbmm(self.bias(past, time, padding), query, key.transpose(1, 2),
                               alpha=shape.head_dim ** -0.5)
        mixed = torch.bmm(torch.softmax(scores, -1), value)
        mixed = mixed.view(batch, shape.heads, time, shape.head_dim).transpose(1, 2).reshape(batch, time, -1)
        return functional.linear(mixed, self.p[f"{layer}.out"])

    def hidden(self, ids, cache=None, padding=None):
        """Final normalised states, [batch, time, width]; `padding` counts the filler tokens before each row."""
        eps = self.shape.norm_eps
        x = functional.embedding(ids, self.p["embedding"])
        for layer in range(self.shape.layers):
            x = x + self.attention(rms_norm(x, self.p[f"{layer}.attention_norm"], eps), layer, cache, padding)
            normed = rms_norm(x, self.p[f"{layer}.ffn_norm"], eps)
            gate, up = functional.linear(normed, self.p[f"{layer}.gate_up"]).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate) * up, self.p[f"{layer}.down"])
        return rms_norm(x, self.p["final_norm"], eps)

    def logits(self, states):
        return functional.linear(states, self.p["embedding"])

    def loss(self, ids, targets, weights, smoothing):
        """Weighted sum of the cross-entropies at the positions that have a weight."""
        chosen = weights.reshape(-1).nonzero().squeeze(1)
        states = self.hidden(ids).reshape(-1, self.shape.width)[chosen]
        losses = functional.cross_entropy(self.logits(states), targets.reshape(-1)[chosen], reduction="none",
                                          label_smoothing=smoothing)
        return (losses * weights.reshape(-1)[chosen]).sum()
