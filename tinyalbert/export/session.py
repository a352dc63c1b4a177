"""An exported folder, called as our own models are called.

    model = OnnxModel("exported")
    model(input_ids, attention_mask).logits

So whatever asks a model can ask its graph: tests and benchmarks compare the two, and `FineTuned`
measures either.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import outputs
from ..backend import get_backend
from ..config import config_from_dict
from ..errors import InputError
from ..files import read_json_object
from ..inputs import check_inputs, host_array

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# The first output's name says what the answer is.
ANSWERS: dict[str, Any] = {
    "last_hidden_state": outputs.BaseModelOutputWithPooling,
    "pooler_output": outputs.BaseModelOutputWithPooling,
    "logits": outputs.TaskOutput,
    "start_logits": outputs.QuestionAnsweringModelOutput,
    "sop_logits": outputs.AlbertForPreTrainingOutput,
    "seq_relationship_logits": outputs.BertForPreTrainingOutput,
}


class OnnxModel:
    """directory: what `export_onnx` wrote. file: which of its graphs; model_quantized.onnx is the
    one in 8 bits. threads: of the runtime; None lets it choose.

    Raises InputError if a file is missing or damaged, or without ONNX Runtime.
    """

    def __init__(self, directory: str | Path, *, file: str = "model.onnx",
                 threads: int | None = None) -> None:
        directory = Path(directory)
        self.config = config_from_dict(read_json_object(directory / "config.json"))
        self.backend = get_backend("numpy")
        self.session = open_session(directory / "onnx" / file, threads)

    def __call__(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None,
                 **labels: Any) -> Any:
        """All three [B, T], of multiple choice [B, C, T], with the defaults of AlbertModel. Answers
        what the model in the graph does, without a loss: labels are not looked at.

        Raises InputError for ids outside their tables, sequences longer than the positions, and
        arrays of the wrong shape.
        """
        ids = host_array("input_ids", input_ids)
        shape, axes = ids.shape, self.session.get_inputs()[0].shape
        if len(shape) != len(axes):
            raise InputError(f"input_ids must have shape [{', '.join(axes)}], not {list(shape)}")
        given = check_inputs(self.config, flat(ids), flat(attention_mask), flat(token_type_ids),
                             None, None)
        feed = {"input_ids": ids, "attention_mask": given.attention_mask.reshape(shape),
                "token_type_ids": given.token_type_ids.reshape(shape)}
        names = [output.name for output in self.session.get_outputs()]
        arrays = self.session.run(names, {name: np.asarray(array, np.int64)
                                          for name, array in feed.items()})
        return answer(dict(zip(names, arrays, strict=True)))


def flat(array: Any) -> Any:
    """[B, C, T] -> [B*C, T], None stays None."""
    array = None if array is None else host_array("the input", array)
    return array if array is None or array.ndim < 3 else array.reshape(-1, array.shape[-1])


def answer(arrays: dict[str, np.ndarray]) -> outputs.ModelOutput:
    """The attentions are put together, the rest is under its own name."""
    kind = next(ANSWERS[name] for name in arrays if name in ANSWERS)
    attentions = tuple(arrays.pop(name) for name in list(arrays) if name.startswith("attentions."))
    return kind(**arrays, attentions=attentions or None)


def open_session(path: Path, threads: int | None = None) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("running a graph needs ONNX Runtime: pip install 'tinyalbert[onnx]'"
                         ) from error
    if not path.is_file():
        raise InputError(f"{path} is not there: tinyalbert export onnx writes it")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3                  # errors: they are raised, and printed once
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:                      # its classes have no common one of their own
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be opened: {reason:.200}") from error
