"""What an encoder is put to, and here what concerns its tokens: hidden words, entities.

                                     on top                      loss
    AlbertForPreTraining             MLM head, SOP classifier    both cross-entropies, added
    AlbertForMaskedLM                MLM head                    cross-entropy
    AlbertForTokenClassification     classifier of every token   cross-entropy
    AlbertForSequenceClassification  classifier of [CLS]         cross-entropy, or as problem_type
    AlbertForMultipleChoice          one score for each choice   cross-entropy over the choices
    AlbertForQuestionAnswering       two scores for every token  cross-entropy over the tokens

The last three of them stand in classification.py. All work alike:

    out = model(input_ids, attention_mask)                              # evaluate
    out, cache = model.forward(..., labels=labels, rng=rng)             # train; rng: dropout
    model.backward(cache)                                               # parameter.grad += ...

`backward(cache, d_loss=1.0)` adds d_loss times the gradient of the loss to every parameter's grad,
and returns that of `inputs_embeds`, if they were given. `forward` computes what the loss needs and
no more: tokens that nobody labelled get no logits. `options` are the other arguments of
`AlbertModel.forward`: position_ids, inputs_embeds, output_hidden_states, output_attentions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .backend import Array
from .config import AnyConfig
from .errors import InputError
from .heads import AlbertMLMHead
from .inputs import batch_shape, check_labels, check_targets
from .layer import Initializer
from .layers import Classifier
from .model import AlbertModel, ModelCache
from .outputs import AlbertForPreTrainingOutput, TaskOutput
from .pretrained import PreTrainedModel

Generator = np.random.Generator | None


class TaskCache(NamedTuple):
    albert: ModelCache
    heads: tuple            # a cache for each head
    losses: tuple           # a cache for each loss, None where no labels were given


class AlbertForTask(PreTrainedModel):
    """An encoder, and something on top of it that a sub-class adds."""

    pools = False           # whether it needs the vector of the whole sequence

    def __init__(self, config: AnyConfig, *, backend: str = "numpy", dtype: Any = np.float32,
                 seed: int = 0, init: Initializer | None = None) -> None:
        init = self.begin(config, backend, dtype, seed, init)
        self.albert = AlbertModel(config, self.pools, init=init)
        self.add_heads(config, init)

    def add_heads(self, config: AnyConfig, init: Initializer) -> None:
        raise NotImplementedError

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Evaluate: the arguments of `forward`; no dropout, no cache, logits for every token."""
        return self.forward(*inputs, **options, evaluate=True)[0]

    def cross_entropy(self, logits: Array, labels: np.ndarray | None,
                      class_weights: Any = None) -> tuple[Any, Any]:
        if labels is None:
            return None, None
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]),
                               self.backend.asarray(labels.reshape(-1)),
                               self.check_class_weights(class_weights, logits.shape[-1]))

    def check_class_weights(self, class_weights: Any, classes: int) -> Array | None:
        """[K] on the device; InputError unless it is a number >= 0 for each label."""
        if class_weights is None:
            return None
        weights = check_targets("class_weights", class_weights, (classes,), self.dtype)
        if weights.min() < 0:
            raise InputError("class_weights must not be negative")
        return self.backend.asarray(weights)

    def asked(self, labels: np.ndarray | None, evaluate: bool,
              options: dict[str, Any]) -> tuple[Any, Any]:
        """Which of the B*T tokens have a label [M], and the labels [M]; None means all."""
        if labels is None or evaluate or options.get("output_hidden_states"):
            return None, labels
        tokens = np.flatnonzero(labels != F.IGNORED)
        return tokens, labels.reshape(-1)[tokens]


def needs_loss(cache: TaskCache) -> None:
    if all(loss is None for loss in cache.losses):
        raise InputError("backward has no loss to start from: give `forward` the labels")


class MaskedLanguageModel(AlbertForTask):
    """What has a masked-LM head can say how likely a sentence is."""

    def score(self, tokenizer: Any, texts: Any, **options: Any) -> Any:
        """The pseudo-log-likelihood of texts in nats: see `scoring.pseudo_log_likelihood`."""
        from .scoring import pseudo_log_likelihood
        return pseudo_log_likelihood(self, tokenizer, texts, **options)


class AlbertForPreTraining(MaskedLanguageModel):
    """With the masked-LM head (tied to the word embeddings) and the sentence-order head.

    loss = masked-LM cross-entropy + sentence-order cross-entropy (section 3.1), each the mean over
    its labels; the part that no labels are given for is left out.
    """

    pools = True
    sentence_label = "sentence_order_label"

    def add_heads(self, config: AnyConfig, init: Initializer) -> None:
        words = self.albert.embeddings.word_embeddings.weight
        self.predictions = AlbertMLMHead(config, words, init)
        # Google's code has no dropout before it.
        dropout = config.classifier_dropout_rate if config.dropout_sites == "huggingface" else 0.0
        self.sop_classifier = Classifier(config.hidden_size, 2, dropout, init)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None,
                *, labels: Any = None, sentence_order_label: Any = None, rng: Generator = None,
                evaluate: bool = False, **options: Any,
                ) -> tuple[AlbertForPreTrainingOutput, TaskCache]:
        """labels [B, T]: the original id where a word is to be predicted, -100 elsewhere.
        sentence_order_label [B]: 0 as written, 1 swapped, -100 not asked.

        prediction_logits [B, T, V], or with labels [M, V] of the M labelled tokens.
        """
        shape = batch_shape(input_ids, options.get("inputs_embeds"))
        words = check_labels("labels", labels, shape, self.config.vocab_size)
        orders = check_labels(self.sentence_label, sentence_order_label, shape[:1], 2)
        tokens, words = self.asked(words, evaluate, options)
        out, albert = self.albert.forward(input_ids, attention_mask, token_type_ids, tokens=tokens,
                                          rng=rng, evaluate=evaluate, **options)
        x = out.last_hidden_state                                       # [B, T, H] or [M, H]
        logits, predictions = self.predictions.forward(x)
        sop_logits, sop = self.sop_classifier.forward(out.pooler_output, rng=rng)     # [B, 2]
        word_loss, word_cache = self.cross_entropy(logits, words)
        order_loss, order_cache = self.cross_entropy(sop_logits, orders)
        losses = [loss for loss in (word_loss, order_loss) if loss is not None]
        return (AlbertForPreTrainingOutput(sum(losses[1:], losses[0]) if losses else None,
                                           logits, sop_logits,
                                           out.hidden_states, out.attentions, word_loss,
                                           order_loss),
                TaskCache(albert, (predictions, sop), (word_cache, order_cache)))

    def backward(self, cache: TaskCache,                                # type: ignore[override]
                 d_loss: float | tuple[float, float] = 1.0) -> Any:
        """d_loss: of the loss, or of its two parts, the words' and the sentence order's."""
        needs_loss(cache)
        d_words, d_orders = d_loss if isinstance(d_loss, tuple) else (d_loss, d_loss)
        (predictions, sop), (words, orders) = cache.heads, cache.losses
        d_hidden = d_pooled = None
        if words is not None:
            d_hidden = self.predictions.backward(F.cross_entropy_backward(d_words, words),
                                                 predictions)               # [M, H]
        if orders is not None:
            d_pooled = self.sop_classifier.backward(F.cross_entropy_backward(d_orders, orders), sop)
        return self.albert.backward(d_hidden, d_pooled, cache.albert)


class AlbertForTokenLabels(AlbertForTask):
    """With one head over the tokens: a label for every token that has one."""

    def head(self) -> tuple[Any, int]:
        """The head, and how many labels there are."""
        raise NotImplementedError

    def forward(self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None,
                *, labels: Any = None, class_weights: Any = None, rng: Generator = None,
                evaluate: bool = False, **options: Any) -> tuple[TaskOutput, TaskCache]:
        """labels [B, T], -100 where none is asked for. logits [B, T, K], or with labels [M, K] of
        the M labelled tokens. class_weights [K]: how much a label weighs in the loss."""
        shape = batch_shape(input_ids, options.get("inputs_embeds"))
        layer, num_labels = self.head()
        tokens, labels = self.asked(check_labels("labels", labels, shape, num_labels), evaluate,
                                    options)
        out, albert = self.albert.forward(input_ids, attention_mask, token_type_ids, tokens=tokens,
                                          rng=rng, evaluate=evaluate, **options)
        logits, head = layer.forward(out.last_hidden_state, rng=rng)
        loss, loss_cache = self.cross_entropy(logits, labels, class_weights)
        return (TaskOutput(loss, logits, out.hidden_states, out.attentions),
                TaskCache(albert, (head,), (loss_cache,)))

    def backward(self, cache: TaskCache, d_loss: float = 1.0) -> Any:       # type: ignore[override]
        needs_loss(cache)
        d_logits = F.cross_entropy_backward(d_loss, cache.losses[0])        # [M, K]
        d_hidden = self.head()[0].backward(d_logits, cache.heads[0])
        return self.albert.backward(d_hidden, None, cache.albert)


class AlbertForMaskedLM(AlbertForTokenLabels, MaskedLanguageModel):
    """With the masked-LM head alone. labels: the original id where a word is to be predicted."""

    def add_heads(self, config: AnyConfig, init: Initializer) -> None:
        words = self.albert.embeddings.word_embeddings.weight
        self.predictions = AlbertMLMHead(config, words, init)

    def head(self) -> tuple[Any, int]:
        return self.predictions, self.config.vocab_size


class AlbertForTokenClassification(AlbertForTokenLabels):
    """With a classifier of every token: entities, parts of speech. Padding has no label, nor have
    the inner pieces of words."""

    def add_heads(self, config: AnyConfig, init: Initializer) -> None:
        self.classifier = Classifier(config.hidden_size, config.num_labels,
                                     config.classifier_dropout_rate, init)

    def head(self) -> tuple[Any, int]:
        return self.classifier, self.config.num_labels
