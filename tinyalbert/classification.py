"""What is asked about a whole text: its label, which continuation, where the answer is.

The manner is that of tasks.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import functional as F
from .backend import array_module
from .config import AnyConfig
from .errors import InputError
from .inputs import MASKED, batch_shape, check_labels, check_shape, check_targets, host_array
from .layer import Initializer
from .layers import Classifier, Linear
from .outputs import QuestionAnsweringModelOutput, TaskOutput
from .tasks import AlbertForTask, Generator, TaskCache, needs_loss

NO_TOKENS = np.zeros(0, np.int64)       # asks the last layer for the pooler's token only


class AlbertForSequenceClassification(AlbertForTask):
    """With a classifier of the pooled [CLS]: a label for a text or a pair, or numbers.

    The loss is `config.problem_type`'s: cross-entropy for one label of K, squared error for
    numbers (`regression`), binary cross-entropy for any number of labels at once. Where it is None,
    num_labels = 1 means numbers, whole labels mean one of K, and others mean several.
    """

    pools = True

    def add_heads(self, config: AnyConfig, init: Initializer) -> None:
        self.classifier = Classifier(config.hidden_size, config.num_labels,
                                     config.classifier_dropout_rate, init)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None,
                *, labels: Any = None, class_weights: Any = None, rng: Generator = None,
                evaluate: bool = False, **options: Any) -> tuple[TaskOutput, TaskCache]:
        """labels [B] of classes, -100 not asked; numbers [B] or [B, K]. logits [B, K].
        class_weights [K]: how much a label weighs in the loss, where it is one of K."""
        shape = batch_shape(input_ids, options.get("inputs_embeds"))
        labels = None if labels is None else self.check_labels(labels, shape[0])
        tokens = None if options.get("output_hidden_states") else NO_TOKENS
        out, albert = self.albert.forward(input_ids, attention_mask, token_type_ids, tokens=tokens,
                                          rng=rng, evaluate=evaluate, **options)
        logits, head = self.classifier.forward(out.pooler_output, rng=rng)              # [B, K]
        loss, loss_cache = None, None
        if labels is not None:
            kind = self.problem_type(labels)
            if kind == "single_label_classification":
                loss, loss_cache = self.cross_entropy(logits, labels, class_weights)
            else:
                loss, loss_cache = F.LOSSES[kind][0](logits, self.backend.asarray(labels))
            loss_cache = kind, loss_cache
        return (TaskOutput(loss, logits, out.hidden_states, out.attentions),
                TaskCache(albert, (head,), (loss_cache,)))

    def backward(self, cache: TaskCache, d_loss: float = 1.0) -> Any:       # type: ignore[override]
        needs_loss(cache)
        kind, loss_cache = cache.losses[0]
        d_logits = F.LOSSES[kind][1](d_loss, loss_cache)                    # [B, K]
        d_pooled = self.classifier.backward(d_logits, cache.heads[0])
        return self.albert.backward(None, d_pooled, cache.albert)

    def problem_type(self, labels: np.ndarray) -> str:
        if self.config.problem_type:
            return self.config.problem_type
        if self.config.num_labels == 1:
            return "regression"
        whole = labels.dtype.kind in "iu" and labels.ndim == 1
        return "single_label_classification" if whole else "multi_label_classification"

    def check_labels(self, labels: Any, batch: int) -> np.ndarray:
        labels, classes = host_array("labels", labels), self.config.num_labels
        if self.problem_type(labels) == "single_label_classification":
            checked = check_labels("labels", labels, (batch,), classes)
            return labels if checked is None else checked
        if classes == 1 and labels.shape == (batch,):
            labels = labels[:, None]
        return check_targets("labels", labels, (batch, classes), self.dtype)        # [B, K]


class AlbertForMultipleChoice(AlbertForTask):
    """With one score for each of C continuations; the softmax is over the choices."""

    pools = True

    def add_heads(self, config: AnyConfig, init: Initializer) -> None:
        self.classifier = Classifier(config.hidden_size, 1, config.classifier_dropout_rate, init)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None,
                *, labels: Any = None, rng: Generator = None, evaluate: bool = False,
                **options: Any) -> tuple[TaskOutput, TaskCache]:
        """All inputs [B, C, T] (inputs_embeds [B, C, T, E]); labels [B] of choices, -100 not
        asked. logits [B, C]. Where attention_mask has no token, there is no such choice: 10000
        is taken from its logit, for batches of questions that differ in C."""
        choices = {"input_ids": input_ids, "attention_mask": attention_mask,
                   "token_type_ids": token_type_ids}
        for name in ("position_ids", "inputs_embeds"):
            choices[name] = options.pop(name, None)
        first = "input_ids" if choices["inputs_embeds"] is None else "inputs_embeds"
        batch, num_choices = two_axes(first, choices[first])
        flat: dict[str, Any] = {
            name: None if array is None else flatten_choices(name, array, batch, num_choices)
            for name, array in choices.items()}
        labels = check_labels("labels", labels, (batch,), num_choices)
        tokens = None if options.get("output_hidden_states") else NO_TOKENS
        out, albert = self.albert.forward(**flat, tokens=tokens, rng=rng, evaluate=evaluate,
                                          **options)
        scores, head = self.classifier.forward(out.pooler_output, rng=rng)          # [B*C, 1]
        logits = scores.reshape(batch, num_choices)
        if attention_mask is not None:          # so far below, a score gets no gradient either
            mask = host_array("attention_mask", attention_mask)
            missing = ~mask.reshape(batch, num_choices, -1).any(-1)                 # [B, C]
            logits = logits + self.backend.asarray(missing * MASKED, dtype=self.dtype)
        loss, loss_cache = self.cross_entropy(logits, labels)
        return (TaskOutput(loss, logits, out.hidden_states, out.attentions),
                TaskCache(albert, (head,), (loss_cache,)))

    def backward(self, cache: TaskCache, d_loss: float = 1.0) -> Any:       # type: ignore[override]
        needs_loss(cache)
        d_logits = F.cross_entropy_backward(d_loss, cache.losses[0])        # [B, C]
        d_pooled = self.classifier.backward(d_logits.reshape(-1, 1), cache.heads[0])
        return self.albert.backward(None, d_pooled, cache.albert)


def two_axes(name: str, array: Any) -> tuple[int, int]:
    shape = array.shape if hasattr(array, "shape") else host_array(name, array).shape
    if len(shape) < 3:
        raise InputError(f"{name} must have shape [batch, choices, tokens], not {list(shape)}")
    return shape[0], shape[1]


def flatten_choices(name: str, array: Any, batch: int, num_choices: int) -> Any:
    """[B, C, T] -> [B*C, T]"""
    array = array if hasattr(array, "reshape") else host_array(name, array)
    if two_axes(name, array) != (batch, num_choices):
        raise InputError(f"{name} has shape {list(array.shape)}, expected [{batch}, {num_choices}, "
                         "tokens]")
    return array.reshape(batch * num_choices, *array.shape[2:])


class AlbertForQuestionAnswering(AlbertForTask):
    """With two scores for every token: that the answer starts there, and that it ends there."""

    def add_heads(self, config: AnyConfig, init: Initializer) -> None:
        self.qa_outputs = Linear(config.hidden_size, 2, init)

    def forward(self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None,
                *, start_positions: Any = None, end_positions: Any = None, rng: Generator = None,
                evaluate: bool = False, **options: Any,
                ) -> tuple[QuestionAnsweringModelOutput, TaskCache]:
        """start_positions, end_positions [B]: the answer's first and last token; a position of T
        or beyond (cut off by truncation) is not asked. start_logits, end_logits [B, T]."""
        batch, length = batch_shape(input_ids, options.get("inputs_embeds"))
        if (start_positions is None) != (end_positions is None):
            raise InputError("give start_positions and end_positions, or neither")
        starts, ends = (self.check_positions(name, given, batch, length) for name, given in
                        (("start_positions", start_positions), ("end_positions", end_positions)))
        # In Hugging Face's loss padding competes for the answer, and so it does here.
        out, albert = self.albert.forward(input_ids, attention_mask, token_type_ids, rng=rng,
                                          evaluate=evaluate, skip_padding=False, **options)
        logits, head = self.qa_outputs.forward(out.last_hidden_state)           # [B, T, 2]
        start_logits, end_logits = logits[..., 0], logits[..., 1]
        start_loss, start_cache = self.cross_entropy(start_logits, starts)
        end_loss, end_cache = self.cross_entropy(end_logits, ends)
        loss = None if starts is None else (start_loss + end_loss) / 2
        return (QuestionAnsweringModelOutput(loss, start_logits, end_logits, out.hidden_states,
                                             out.attentions),
                TaskCache(albert, (head,), (start_cache, end_cache)))

    def backward(self, cache: TaskCache, d_loss: float = 1.0) -> Any:       # type: ignore[override]
        needs_loss(cache)
        both = [F.cross_entropy_backward(d_loss / 2, loss) for loss in cache.losses]    # [B, T]
        d_logits = array_module(both[0]).stack(both, -1)                    # [B, T, 2]
        d_hidden = self.qa_outputs.backward(d_logits, cache.heads[0])       # [B, T, H]
        return self.albert.backward(d_hidden, None, cache.albert)

    def check_positions(self, name: str, positions: Any, batch: int,
                        length: int) -> np.ndarray | None:
        if positions is None:
            return None
        positions = host_array(name, positions)
        check_shape(name, positions, (batch,))
        if positions.dtype.kind not in "iu" or positions.min(initial=0) < 0:
            raise InputError(f"{name} must hold places of tokens, counted from 0")
        return np.where(positions < length, positions.astype(np.int64), F.IGNORED)
