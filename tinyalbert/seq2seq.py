"""An encoder that writes: sequence-to-sequence by the attention mask (UniLM, Dong et al. 2019).

    [CLS] source [SEP] target [SEP]
      0     0      0     1      1       token_type_ids

Source tokens look at the source, target tokens at the source and at the target up to themselves.
So a target token knows nothing of what comes after it, and can be asked for that: the source's
[SEP] for the first word of the target, every word for the next one, the last for the end, [SEP].
The head is the masked-LM head and the weights are those of ...ForMaskedLM, name by name:
`from_pretrained` takes any masked language model, and Transformers opens what is saved as one.

    model = AlbertForSeq2SeqLM.from_pretrained("albert-base-v2")
    batch = tokenizer(articles, summaries, padding=True, return_tensors="np")
    out, cache = model.forward(**batch, labels=batch["input_ids"], rng=rng)         # train
    model.backward(cache)
    ids = model.generate(**tokenizer(articles, padding=True, return_tensors="np"), num_beams=4,
                         eos_token_id=tokenizer.sep_token_id)
    tokenizer.batch_decode(ids, skip_special_tokens=True)

How tokens are chosen stands in generation.py; here is what says how likely they are, twice: by the
whole model for every new token, and, with keys and values kept, by one token's way through it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .attention import KeysAndValues
from .bert import BertForTask
from .config_checks import check_keys
from .errors import InputError
from .functional import IGNORED
from .generation import GenerationConfig, search
from .inputs import attention_bias, check_ids, check_inputs, check_labels, check_shape
from .outputs import TaskOutput
from .tasks import AlbertForMaskedLM, TaskCache


def seq2seq_mask(token_type_ids: Any, attention_mask: Any = None) -> np.ndarray:
    """Who may look at whom, [B, T, T]: token_type_ids [B, T], 0 of the source and 1 of the target;
    attention_mask [B, T], 0 for padding (default: none). Padding looks at nothing and is not looked
    at."""
    types = np.asarray(token_type_ids)
    real = np.ones(types.shape, bool) if attention_mask is None else np.asarray(attention_mask) == 1
    source, target = real & (types == 0), real & (types != 0)               # [B, T]
    earlier = np.tri(types.shape[1], dtype=bool)            # [query, key]: key <= query
    to_source = real[:, :, None] & source[:, None, :]                       # [B, T, T]
    to_target = target[:, :, None] & target[:, None, :] & earlier
    return (to_source | to_target).astype(np.int8)


def places(attention_mask: np.ndarray) -> np.ndarray:
    """Position ids [B, T] that count tokens alone: the target's go on where its own source ends,
    even if there is padding between the two."""
    return np.maximum(np.cumsum(attention_mask == 1, 1) - 1, 0)


def next_tokens(labels: np.ndarray, target: np.ndarray, real: np.ndarray) -> np.ndarray:
    """[B, T]: the label of every token whose next one is of the target, IGNORED elsewhere."""
    if not target.any():
        raise InputError("there is no target to learn: token_type_ids must be 1 for its tokens")
    asked = target[:, 1:]
    if target[:, 0].any() or (asked & ~real[:, :-1]).any():
        raise InputError("a target must follow right after its source: padding belongs at the end")
    return np.pad(np.where(asked, labels[:, 1:], IGNORED), ((0, 0), (0, 1)),
                  constant_values=IGNORED)


class AlbertForSeq2SeqLM(AlbertForMaskedLM):
    """A masked language model that reads a source and writes a target."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None,
                token_type_ids: Any = None, *, labels: Any = None, position_ids: Any = None,
                **options: Any) -> tuple[TaskOutput, TaskCache]:
        """attention_mask [B, T]; token_type_ids [B, T], 1 for the target. The mask among the tokens
        and (unless given) the positions follow from them.

        labels [B, T]: the token that belongs at each place, so most often `input_ids` itself; they
        are moved by one here, and what is not of the target is not asked for. -100 leaves out more.
        logits [B, T, V] of each place's *next* token, or with labels [M, V] of those before the M
        target tokens.
        """
        given = check_inputs(self.config, input_ids, attention_mask, token_type_ids, position_ids,
                             options.get("inputs_embeds"))
        mask, types = given.attention_mask, given.token_type_ids
        check_shape("attention_mask", mask, given.shape)
        labels = check_labels("labels", labels, given.shape, self.config.vocab_size)
        if labels is not None:
            real = mask == 1
            labels = next_tokens(labels, real & (types != 0), real)
        return super().forward(input_ids, seq2seq_mask(types, mask), types, labels=labels,
                               position_ids=places(mask) if position_ids is None else position_ids,
                               **options)

    def generate(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
                 eos_token_id: int, use_cache: bool = True, **options: Any) -> np.ndarray:
        """Write a target for each source. input_ids [B, S]: `[CLS] source [SEP]`, padded on the
        right; attention_mask [B, S]; token_type_ids [B, S], all 0. Returns the new tokens
        [B, <= max_new_tokens]: each sequence with its eos_token_id, if it got there, then padding.

        options: those of `generation.GenerationConfig`; pad_token_id is the configuration's unless
        given. use_cache=False computes everything anew for every token, with the same result.

        Raises InputError for an option or an id that means nothing, a source without a token, and
        a source that leaves no room for max_new_tokens.
        """
        check_keys(options, [*GenerationConfig.__dataclass_fields__], "generate")
        config = GenerationConfig(**{"pad_token_id": self.config.pad_token_id, **options,
                                     "eos_token_id": eos_token_id})
        source, mask = self.check_sources(input_ids, attention_mask, token_type_ids, config)
        next_logits = (CachedLogits(self, source, mask, config.max_new_tokens) if use_cache
                       else RecomputedLogits(self, source, mask))
        return search(next_logits, len(source), config)

    def check_sources(self, input_ids: Any, attention_mask: Any, token_type_ids: Any,
                      config: GenerationConfig) -> tuple[np.ndarray, np.ndarray]:
        """The sources and their mask, both [B, S], without columns that are padding throughout."""
        given = check_inputs(self.config, input_ids, attention_mask, token_type_ids, None, None)
        check_shape("attention_mask", given.attention_mask, given.shape)
        if given.token_type_ids.any():
            raise InputError("token_type_ids of a source must be 0: 1 is for the target")
        ids = np.array([config.eos_token_id, config.pad_token_id, *config.suppress_tokens])
        check_ids("eos_token_id, pad_token_id or suppress_tokens", ids, self.config.vocab_size)
        source, mask = np.asarray(given.input_ids), (given.attention_mask == 1).astype(np.int64)
        if not mask.any(1).all():
            raise InputError(f"source {mask.any(1).argmin()} has no token: its attention_mask is 0")
        if self.config.type_vocab_size < 2:
            raise InputError("the model has one token type, and a target needs another")
        length, limit = last_token(mask).max() + 1, self.config.max_position_embeddings
        if length + config.max_new_tokens > limit:
            raise InputError(f"a source of {length} tokens and max_new_tokens "
                             f"{config.max_new_tokens} exceed max_position_embeddings {limit}: "
                             "truncate the source")
        return source[:, :length], mask[:, :length]


class BertForSeq2SeqLM(BertForTask, AlbertForSeq2SeqLM):
    pass


class RecomputedLogits:
    """The next token's logits from the whole model: source and target, all of it, every time.
    A `generation.NextLogits`."""

    def __init__(self, model: AlbertForSeq2SeqLM, source: np.ndarray, mask: np.ndarray) -> None:
        self.model, self.source, self.mask = model, source, mask            # [R, S]

    def __call__(self, tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        self.source, self.mask = self.source[parents], self.mask[parents]
        ids = np.hstack([self.source, tokens])                              # [R, S + n]
        mask = np.hstack([self.mask, np.ones_like(tokens)])
        types = np.hstack([np.zeros_like(self.source), np.ones_like(tokens)])
        logits = self.model.backend.to_numpy(self.model(ids, mask, types).logits)
        return logits[np.arange(len(ids)), last_token(mask)]                # [R, V]


class CachedLogits:
    """The same logits with less work. Nobody looks at a token that is written later, so what the
    layers computed stays right: the source goes through them once, and then each new token by
    itself, with the keys and values of all before it. Where the source was padded, a gap remains
    before the target, which nobody looks into and no position counts. A `generation.NextLogits`.
    """

    def __init__(self, model: AlbertForSeq2SeqLM, source: np.ndarray, mask: np.ndarray,
                 room: int) -> None:
        self.model, self.source, self.mask = model, source, mask            # [B, S]
        allowed = np.pad(mask, ((0, 0), (0, room)), constant_values=1)      # [B, S + room]
        self.bias = model.backend.asarray(attention_bias(allowed, model.dtype))
        self.seen = model.albert.make_room(*allowed.shape)

    def __call__(self, tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        self.select(parents)
        rows, written = tokens.shape
        if written == 0:
            ids, types, positions = self.source, np.zeros_like(self.source), places(self.mask)
            last = last_token(self.mask)                                    # [R]
        else:
            ids, types = tokens[:, -1:], np.ones((rows, 1), np.int64)       # [R, 1]
            positions = self.mask.sum(1, keepdims=True) + written - 1
            last = np.zeros(rows, np.int64)
        asarray, bias = self.model.backend.asarray, self.bias[..., :self.source.shape[1] + written]
        x = self.model.albert.step(asarray(ids), asarray(types), asarray(positions), bias,
                                   self.seen)                               # [R, S or 1, H]
        x = x[asarray(np.arange(rows)), asarray(last)]                      # [R, H]
        return self.model.backend.to_numpy(self.model.predictions(x))       # [R, V]

    def select(self, parents: np.ndarray) -> None:
        """Go on with these of the rows, some perhaps several times, and forget the others."""
        rows, on_device = np.arange(len(self.mask)), self.model.backend.asarray(parents)
        if len(parents) != len(rows):           # from one row for each source to K
            self.mask, self.bias = self.mask[parents], self.bias[on_device]
            self.seen = [KeysAndValues(keys[on_device], values[on_device])
                         for keys, values in self.seen]
        elif (parents != rows).any():           # rows of one source differ in the target alone
            target = slice(self.source.shape[1], None)
            for keys, values in self.seen:
                keys[:, :, target] = keys[on_device, :, target]
                values[:, :, target] = values[on_device, :, target]


def last_token(mask: np.ndarray) -> np.ndarray:
    """The column [B] of each sequence's last token."""
    return mask.shape[1] - 1 - mask[:, ::-1].argmax(1)
