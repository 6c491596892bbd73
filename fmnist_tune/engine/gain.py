"""Expected improvement, by its logarithm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

Array = NDArray[np.float64]


def log_expected_improvement(u: Array) -> Array:
    """Return log(pdf(u) + u * cdf(u)), exact far below the best too.

    After Ament et al. 2023 (https://arxiv.org/abs/2310.20708).

    Args:
        u: how many standard deviations the mean lies above the best value.
    """
    log_pdf = -0.5 * u * u - 0.5 * np.log(2 * np.pi)
    near = np.maximum(u, -1.0)
    exact = np.log(np.exp(-0.5 * near * near) / np.sqrt(2 * np.pi) + near * np.exp(log_ndtr(near)))
    far = np.minimum(u, -1.0)
    # pdf + u cdf = pdf (1 + u cdf / pdf), and cdf / pdf = sqrt(pi / 2) erfcx(-u / sqrt 2)
    ratio = 1 + far * np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2))
    ratio = np.where(far < -1e4, 1 / (far * far), np.maximum(ratio, 1e-300))
    result: Array = np.where(u > -1, exact, log_pdf + np.log(ratio))
    return result
