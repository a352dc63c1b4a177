"""Lite in what sense? Parameters, arithmetic and memory of a model, from its configuration alone.

    ALBERT-base: 108 M in BERT's layout  ->  89 M with a factorized table  ->  12 M shared

What sharing saves is counted per parameter: checkpoint, optimizer, gradients between machines. What
it does not save is counted per application of a layer, and twelve applications of one layer are as
many as twelve layers: FLOPs and activations. Nothing is allocated. Left out: time, which depends on
the machine (benchmarks/), and arithmetic outside the matrix products, under 1 % of the whole.
"""

from __future__ import annotations

from .config import AnyConfig

ENCODER_COMPONENTS = ("word embeddings", "position embeddings", "token type embeddings",
                      "embedding norm", "embedding-to-hidden map", "attention", "feed-forward",
                      "layer norms")
MASKED = 0.15       # share of the tokens that are predicted in pretraining
FLOAT = 4           # bytes

# --- parameters ---------------------------------------------------------------------------------


def parameter_table(config: AnyConfig, *, shared: bool = True) -> dict[str, int]:
    """Parameters of each component of the model for pretraining, in the order of a forward pass.
    What is shared between layers, or tied, is counted once, where it first occurs.

    A group of layers owns inner_group_num blocks; with `sharing` attention or ffn (paper, Table 4)
    all layers share that half of a block. shared=False counts the same model without sharing."""
    vocab, size, hidden = config.vocab_size, config.embedding_size, config.hidden_size
    groups = config.num_hidden_groups if shared else config.num_hidden_layers
    attentions = 1 if shared and config.sharing == "attention" else groups
    feed_forwards = 1 if shared and config.sharing == "ffn" else groups
    attentions, feed_forwards = (n * config.inner_group_num for n in (attentions, feed_forwards))
    return {
        "word embeddings": vocab * size,
        "position embeddings": config.max_position_embeddings * size,
        "token type embeddings": config.type_vocab_size * size,
        "embedding norm": norm(size),
        "embedding-to-hidden map": linear(size, hidden) if config.maps_embeddings else 0,
        "attention": attentions * 4 * linear(hidden, hidden),     # query, key, value, output
        "feed-forward": feed_forwards * (linear(hidden, config.intermediate_size)
                                         + linear(config.intermediate_size, hidden)),
        "layer norms": (attentions + feed_forwards) * norm(hidden),
        "pooler": linear(hidden, hidden),
        "masked-LM head": linear(hidden, size) + norm(size) + vocab,    # its matrix is tied
        "sentence head": linear(hidden, 2),
    }


def applications(config: AnyConfig) -> int:
    """How many blocks the input passes through, whether or not they are the same block."""
    return config.num_hidden_layers * config.inner_group_num


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def norm(size: int) -> int:
    return 2 * size


def parameter_totals(config: AnyConfig) -> dict[str, int]:
    """The three sums that are quoted as "the parameters" of an ALBERT, and what they would be
    without its two savings: every layer with its own parameters; a table of V x H instead of
    V x E and a map. The paper's tables quote the first or second sum."""
    table = parameter_table(config)
    encoder = sum(table[name] for name in ENCODER_COMPONENTS)
    factorized = config.vocab_size * config.embedding_size
    factorized += config.embedding_size * config.hidden_size
    return {
        "without pooler and heads": encoder,
        "with pooler": encoder + table["pooler"],
        "with heads, for pretraining": sum(table.values()),
        "the same, nothing shared": sum(parameter_table(config, shared=False).values()),
        "word table as V x E + E x H": factorized,
        "word table as V x H": config.vocab_size * config.hidden_size,
    }


# --- arithmetic ---------------------------------------------------------------------------------


def forward_flops(config: AnyConfig, tokens: int) -> int:
    """One sequence of T tokens through encoder and pooler: 2 FLOPs for each multiply-add.

    A token costs 2 E H in the map and, in each application of a layer, 8 H² for query, key, value
    and output, 4 T H for looking at T tokens and adding up what they say, and 4 H F in the
    feed-forward network. The pooler sees one token: 2 H².
    """
    return encoder_flops(config, tokens, tokens) + 2 * config.hidden_size**2


def training_flops(config: AnyConfig, tokens: int, masked: int, recompute: bool = False) -> int:
    """One sequence of T tokens, forward and backward, M of them masked: 3 times the forward pass,
    since every product y = x W has two more in its derivative, dx = dy Wᵀ and dW = xᵀ dy.

    Only the masked tokens go through the masked-LM head, 2 H E + 2 E V each, and only they and
    [CLS] through the last layer beyond its attention. With recomputation the layers' forward pass
    is done twice.
    """
    hidden, size = config.hidden_size, config.embedding_size
    encoder = encoder_flops(config, tokens, masked + 1)
    heads = 2 * masked * (hidden * size + size * config.vocab_size) + 2 * hidden * (hidden + 2)
    again = encoder - map_flops(config, tokens) if recompute else 0
    return 3 * (encoder + heads) + again


def encoder_flops(config: AnyConfig, tokens: int, asked: int) -> int:
    """The map and the layers; the last layer answers only for some of the tokens."""
    return (map_flops(config, tokens)
            + (applications(config) - 1) * layer_flops(config, tokens, tokens)
            + layer_flops(config, tokens, asked))


def map_flops(config: AnyConfig, tokens: int) -> int:
    return 2 * tokens * config.embedding_size * config.hidden_size * config.maps_embeddings


def layer_flops(config: AnyConfig, tokens: int, asked: int) -> int:
    hidden = config.hidden_size
    attention = 3 * tokens * hidden * hidden + 2 * tokens * tokens * hidden + asked * hidden**2
    return 2 * (attention + 2 * asked * hidden * config.intermediate_size)


# --- memory of a training step ------------------------------------------------------------------


def activation_bytes(config: AnyConfig, tokens: int, masked: int,
                     recompute: bool = False) -> int:
    """What the caches of one sequence hold between its forward and its backward pass, in float32;
    the ids (16 bytes a token) are not counted.

    With recomputation each application of a layer keeps its input only, and the largest moment is
    when the backward pass has run one of them again.
    """
    count, every = applications(config), layer_activations(config, tokens, tokens)
    last = layer_activations(config, tokens, masked + 1)
    layers = (count - 1) * every + last
    if recompute:       # the inputs and the attention mask, and all of one application
        layers = (count - 1) * tokens * config.hidden_size + tokens + (every if count > 1 else last)
    dropped = config.hidden_dropout_prob > 0
    mapped = config.maps_embeddings                             # if not, the first layer has them
    embeddings = tokens * ((1 + dropped + mapped) * config.embedding_size + 1)  # x_hat; 1/std
    return FLOAT * (embeddings + layers + head_activations(config, masked))


def layer_activations(config: AnyConfig, tokens: int, asked: int) -> int:
    """Floats that one application of a layer keeps (SelfAttentionCache, FeedForwardCache)."""
    hidden, dropouts = config.hidden_size, 0
    probs = config.num_attention_heads * tokens * tokens
    if config.attention_probs_dropout_prob:
        probs *= 3                                              # before, after, and the scale
    if config.hidden_dropout_prob:
        dropouts = 1 + (config.dropout_sites == "google")
    attention = 4 * tokens * hidden + probs + asked * (2 * hidden + 1)  # x, q, k, v; context, x_hat
    feed_forward = 2 * hidden + 1 + (1 + activation_inputs(config)) * config.intermediate_size
    return attention + asked * (feed_forward + dropouts * hidden)


def head_activations(config: AnyConfig, masked: int) -> int:
    """Floats that the heads keep, among them a probability for every word at each masked token."""
    hidden = config.hidden_size
    transform = (2 + activation_inputs(config)) * config.embedding_size + 1     # x_hat, output
    words = masked * (transform + config.vocab_size + 1) + (masked + 1) * hidden
    dropped = config.dropout_sites == "huggingface" and config.classifier_dropout_rate > 0
    return words + (1 + 2 * dropped) * hidden + 2 + 1           # pooled; two probabilities, weight


def activation_inputs(config: AnyConfig) -> int:
    """Arrays that the activation's derivative needs: x, and for a GELU the curved factor too."""
    return 2 if config.hidden_act != "relu" else 1


# --- all of it ----------------------------------------------------------------------------------


def model_costs(config: AnyConfig, tokens: int, batch: int) -> dict[str, dict[str, int]]:
    """Everything that `tinyalbert params` prints, in whole numbers: sections of named values.

    tokens: of one sequence; 15 % of them are masked. batch: sequences of a training step.
    """
    table, totals = parameter_table(config), parameter_totals(config)
    whole = totals["with heads, for pretraining"]
    masked = round(MASKED * tokens)
    forward = forward_flops(config, tokens)
    training = training_flops(config, tokens, masked)
    kept = activation_bytes(config, tokens, masked)
    recomputed = activation_bytes(config, tokens, masked, recompute=True)
    return {
        "components": table,
        "totals": dict(list(totals.items())[:4]),
        "bytes": {
            "checkpoint, float32": FLOAT * whole,
            "checkpoint, half precision": 2 * whole,
            "gradients to exchange per step": FLOAT * whole,
            "optimizer state (AdamW)": 2 * FLOAT * whole,
        },
        "flops": {
            "forward, a token": round(forward / tokens),
            "forward, a sequence": forward,
            "training, a token": round(training / tokens),
            "training, a step": training * batch,
            "training, a step, recomputing": training_flops(config, tokens, masked, True) * batch,
        },
        "activation_bytes": {
            "kept, a token": round(kept / tokens),
            "kept, a step": kept * batch,
            "recomputed, a token": round(recomputed / tokens),
            "recomputed, a step": recomputed * batch,
        },
    }
