"""The layers of the package as nodes of a graph: here each has the function of its name, to be read
beside its `forward`. Without dropout, which only training has.

Letters: B batch, T tokens, H hidden, E embedding, F inside the feed-forward network, N heads, D
head size, V vocabulary. A value is the name of an array; the comments say the shape of that array.
"""

from __future__ import annotations

import math

from ..attention import AlbertAttention
from ..config import AnyConfig
from ..embeddings import AlbertEmbeddings
from ..encoder import AlbertEncoder
from ..feed_forward import AlbertFeedForward
from ..heads import AlbertMLMHead
from ..inputs import MASKED
from ..layers import Embedding, Identity, LayerNorm, Linear
from ..pooler import AlbertPooler
from .graph import Graph, Value

LAYER_NORM, GELU = 17, 20           # the opsets from which on these are one node

# --- functional.py ------------------------------------------------------------------------------


def gelu(graph: Graph, x: Value) -> Value:
    """x Φ(x), Φ(x) = (1 + erf(x/√2))/2"""
    if graph.opset >= GELU:
        return graph("Gelu", x)
    return graph("Mul", x, half_plus_half(graph, graph("Erf", graph("Mul", x, math.sqrt(0.5)))))


def gelu_new(graph: Graph, x: Value) -> Value:
    """x Φ(x) with Φ(x) ≈ (1 + tanh u)/2, u = √(2/π) (x + 0.044715 x³)"""
    if graph.opset >= GELU:
        return graph("Gelu", x, approximate="tanh")
    cube = graph("Mul", graph("Mul", x, x), x)
    u = graph("Mul", graph("Add", x, graph("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
    return graph("Mul", x, half_plus_half(graph, graph("Tanh", u)))


def half_plus_half(graph: Graph, x: Value) -> Value:
    return graph("Add", graph("Mul", x, 0.5), 0.5)


def relu(graph: Graph, x: Value) -> Value:
    return graph("Relu", x)


ACTIVATIONS = {"gelu": gelu, "gelu_new": gelu_new, "relu": relu}


def layer_norm(graph: Graph, layer: LayerNorm, x: Value) -> Value:
    """γ (x - μ)/√(σ² + ε) + β"""
    with graph.scope("LayerNorm"):
        if graph.opset >= LAYER_NORM:
            return graph("LayerNormalization", x, layer.weight, layer.bias, axis=-1,
                         epsilon=layer.eps)
        centred = graph("Sub", x, graph("ReduceMean", x, axes=[-1]))
        variance = graph("ReduceMean", graph("Mul", centred, centred), axes=[-1])   # [..., 1]
        x_hat = graph("Div", centred, graph("Sqrt", graph("Add", variance, layer.eps)))
        return graph("Add", graph("Mul", x_hat, layer.weight), layer.bias)


# --- layers.py ----------------------------------------------------------------------------------


def linear(graph: Graph, name: str, layer: Linear, x: Value) -> Value:
    """x W + b"""
    with graph.scope(name):
        return graph("Add", graph("MatMul", x, layer.weight), layer.bias)


def embedding(graph: Graph, name: str, layer: Embedding, ids: Value,
              x: Value | None = None) -> Value:
    """The rows of the table, added to x if it is given. An id that is not in it, or a position
    beyond it, is an error of the runtime, which names the node and so the table."""
    with graph.scope(name):
        rows = graph("Gather", layer.weight, ids)                               # [..., E]
        return rows if x is None else graph("Add", x, rows)


# --- embeddings.py ------------------------------------------------------------------------------


def embeddings(graph: Graph, layer: AlbertEmbeddings, input_ids: Value,
               token_type_ids: Value) -> Value:
    """norm(word[id] + type[segment] + position[0..T-1])"""
    with graph.scope("embeddings"):
        positions = graph("Range", 0, graph("Gather", graph("Shape", input_ids), 1), 1)     # [T]
        x = embedding(graph, "word_embeddings", layer.word_embeddings, input_ids)
        x = embedding(graph, "token_type_embeddings", layer.token_type_embeddings,
                      token_type_ids, x)
        x = embedding(graph, "position_embeddings", layer.position_embeddings, positions, x)
        return layer_norm(graph, layer.LayerNorm, x)                            # [B, T, E]


# --- attention.py -------------------------------------------------------------------------------


def attention_bias(graph: Graph, attention_mask: Value) -> Value:
    """0 for 1 and MASKED for 0, [B, T] -> [B, 1, 1, T]"""
    with graph.scope("attention_bias"):
        mask = graph("Cast", attention_mask, to=graph.onnx.TensorProto.FLOAT)
        return graph("Unsqueeze", graph("Mul", graph("Sub", 1.0, mask), MASKED), [1, 2])


def attention(graph: Graph, layer: AlbertAttention, x: Value, bias: Value) -> tuple[Value, Value]:
    """norm(x + attend(x) Wo + bo) [B, T, H], and the probabilities [B, N, T, T]."""
    with graph.scope("attention"):
        query = heads(graph, "query", layer, layer.query, x, [0, 2, 1, 3])      # [B, N, T, D]
        key = heads(graph, "key", layer, layer.key, x, [0, 2, 3, 1])            # [B, N, D, T]
        value = heads(graph, "value", layer, layer.value, x, [0, 2, 1, 3])      # [B, N, T, D]
        hidden, size = layer.query.weight.data.shape[1], head_size(layer)
        scores = graph("Div", graph("MatMul", query, key), math.sqrt(size))     # [B, N, T, T]
        probs = graph("Softmax", graph("Add", scores, bias), axis=-1)
        context = graph("Transpose", graph("MatMul", probs, value), perm=[0, 2, 1, 3])
        context = graph("Reshape", context, [0, 0, hidden])                     # [B, T, H]
        y = graph("Add", linear(graph, "dense", layer.dense, context), x)
        return layer_norm(graph, layer.LayerNorm, y), probs


def heads(graph: Graph, name: str, layer: AlbertAttention, part: Linear, x: Value,
          order: list[int]) -> Value:
    """[B, T, H] -> [B, T, N, D], its axes then put into this order."""
    x = linear(graph, name, part, x)
    with graph.scope(name):
        x = graph("Reshape", x, [0, 0, layer.num_heads, head_size(layer)])      # 0: as it was
        return graph("Transpose", x, perm=order)


def head_size(layer: AlbertAttention) -> int:
    return layer.query.weight.data.shape[1] // layer.num_heads


# --- feed_forward.py ----------------------------------------------------------------------------


def feed_forward(graph: Graph, layer: AlbertFeedForward, x: Value, act: str) -> Value:
    """norm(x + act(x W1 + b1) W2 + b2)"""
    with graph.scope("feed_forward"):
        activated = ACTIVATIONS[act](graph, linear(graph, "ffn", layer.ffn, x))     # [B, T, F]
        y = graph("Add", linear(graph, "ffn_output", layer.ffn_output, activated), x)
        return layer_norm(graph, layer.LayerNorm, y)


# --- encoder.py ---------------------------------------------------------------------------------


def encoder(graph: Graph, layer: AlbertEncoder, x: Value, bias: Value,
            act: str) -> tuple[Value, list[Value]]:
    """[B, T, E] -> [B, T, H], and the attentions of each application. layer_3 is the fourth
    application; whose weights it reads, their names say."""
    probs: list[Value] = []
    with graph.scope("encoder"):
        mapping = layer.embedding_hidden_mapping_in
        if not isinstance(mapping, Identity):
            x = linear(graph, "embedding_hidden_mapping_in", mapping, x)        # [B, T, H]
        for i, applied in enumerate(layer.applications()):
            with graph.scope(f"layer_{i}"):
                x, seen = attention(graph, applied.attention, x, bias)
                x = feed_forward(graph, applied.feed_forward, x, act)
                probs.append(seen)
    return x, probs


# --- pooler.py, heads.py ------------------------------------------------------------------------


def pooler(graph: Graph, layer: AlbertPooler, x: Value) -> Value:
    """tanh(x[CLS] Wp + bp)"""
    with graph.scope("pooler"):
        first = graph("Gather", x, 0, axis=1)                                   # [B, H]
        return graph("Tanh", linear(graph, "dense", layer.dense, first))


def mlm_head(graph: Graph, layer: AlbertMLMHead, x: Value, config: AnyConfig) -> Value:
    """norm(act(x Wt + bt)) Wᵀ + b; W is the word table, and no second copy of it."""
    with graph.scope("predictions"):
        x = ACTIVATIONS[config.hidden_act](graph, linear(graph, "dense", layer.dense, x))
        x = layer_norm(graph, layer.LayerNorm, x)                               # [B, T, E]
        with graph.scope("decoder"):
            table = graph("Transpose", layer.decoder.weight, perm=[1, 0])       # [E, V]
            return graph("Add", graph("MatMul", x, table), layer.bias)          # [B, T, V]
