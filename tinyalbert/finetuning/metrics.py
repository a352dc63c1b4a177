"""What the field reports, by the libraries that it uses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError


def classification_metrics(labels: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """accuracy; macro_f1, the mean over the labels of each one's F1; Matthews' correlation, 0 where
    either side is constant."""
    metrics = sklearn_metrics()
    constant = len({*labels, *predicted}) == 1      # of which matthews_corrcoef would warn
    return {"accuracy": float(metrics.accuracy_score(labels, predicted)),
            "macro_f1": float(metrics.f1_score(labels, predicted, average="macro",
                                               zero_division=0.0)),
            "matthews": 0.0 if constant else float(metrics.matthews_corrcoef(labels, predicted))}


def regression_metrics(targets: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's correlation, 0 where either side is constant, and the root of the
    mean squared error."""
    from scipy.stats import pearsonr, spearmanr
    error = float(np.sqrt(np.mean(np.subtract(targets, predicted) ** 2)))
    if len(targets) < 2 or np.ptp(targets) == 0 or np.ptp(predicted) == 0:
        return {"pearson": 0.0, "spearman": 0.0, "rmse": error}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # of nearly constant numbers
        return {"pearson": float(pearsonr(targets, predicted).statistic),
                "spearman": float(spearmanr(targets, predicted).statistic), "rmse": error}


def sklearn_metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise InputError("measuring needs scikit-learn: pip install 'tinyalbert[finetune]'"
                         ) from error
    return metrics
