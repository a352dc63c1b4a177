"""BERT (Devlin et al. 2018), seen from ALBERT: the same classes with another configuration.

    ALBERT                              BERT                          stands in
    E < H, and a map from E to H        E = H, and no map             config.BertConfig
    one layer, applied L times          L layers                      config.BertConfig
    were the segments swapped?          does B follow A?              the data
    what its tensors are called                                       names.py

The last task is the same head on the same vector: two classes of [CLS]. Only its labels mean
something else (0: B really follows A, 1: B is from elsewhere), and so have other names.
"""

from __future__ import annotations

from typing import Any

from .classification import (
    AlbertForMultipleChoice,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
)
from .config import BertConfig
from .model import AlbertModel
from .outputs import BertForPreTrainingOutput
from .tasks import (
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForTask,
    AlbertForTokenClassification,
    Generator,
    TaskCache,
)


class BertForTask(AlbertForTask):
    config_class = BertConfig

    @property
    def bert(self) -> AlbertModel:
        """The encoder, by the name that it has in Hugging Face."""
        return self.albert


class BertModel(AlbertModel):
    config_class = BertConfig


class BertForPreTraining(BertForTask, AlbertForPreTraining):
    sentence_label = "next_sentence_label"

    def forward(self, input_ids: Any = None, attention_mask: Any = None,    # type: ignore[override]
                token_type_ids: Any = None, *, next_sentence_label: Any = None,
                rng: Generator = None, **options: Any,
                ) -> tuple[BertForPreTrainingOutput, TaskCache]:
        """As AlbertForPreTraining's, with next_sentence_label [B] for its sentence_order_label."""
        out, cache = super().forward(input_ids, attention_mask, token_type_ids, rng=rng,
                                     sentence_order_label=next_sentence_label, **options)
        return BertForPreTrainingOutput(*vars(out).values()), cache


class BertForMaskedLM(BertForTask, AlbertForMaskedLM):
    pass


class BertForSequenceClassification(BertForTask, AlbertForSequenceClassification):
    pass


class BertForMultipleChoice(BertForTask, AlbertForMultipleChoice):
    pass


class BertForTokenClassification(BertForTask, AlbertForTokenClassification):
    pass


class BertForQuestionAnswering(BertForTask, AlbertForQuestionAnswering):
    pass
