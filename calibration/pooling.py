"""The evidence of all judges of a pair put together, as a last tier of the cascade.

Judges that err independently given which response people prefer are pooled without loss by adding
their log-odds. Judges are neither independent nor calibrated, so a pooled preference is certified
like that of any other judge; clipping keeps a single overconfident one from deciding alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from calibration.arrays import FloatArray
from calibration.confidence import rounded
from calibration.errors import InvalidArgument


def pooled_preference(p_a: ArrayLike, *, clip: float = 0.02) -> FloatArray:
    """Probability that a is preferred by the sum of the clipped log-odds of all judges.

    Swapping the responses of every judge gives 1 minus the result.

    Args:
        p_a: Shape (n, k), probabilities that a is preferred; nan where a judge failed, which then
            has no say.
        clip: Probabilities are moved into [clip, 1 - clip] first.

    Returns:
        Shape (n,); nan where every judge failed.

    Raises:
        InvalidArgument: Another shape, a probability outside [0, 1], or clip outside (0, 1/2).
    """
    shares = rounded(p_a)
    if shares.ndim != 2 or np.any((shares < 0) | (shares > 1)):
        raise InvalidArgument("p_a must have shape (pairs, judges) and lie in [0, 1]")
    if not 0.0 < clip < 0.5:
        raise InvalidArgument(f"clip must lie strictly between 0 and 0.5, not {clip}")
    # log(p / (1 - p)) of p and of 1 - p are the same number but for the sign
    low, high = (np.clip(each, clip, 1.0 - clip) for each in (shares, 1.0 - shares))
    is_heard = ~np.isnan(shares)
    total = np.where(is_heard, np.log(low) - np.log(high), 0.0).sum(axis=1)
    return np.where(is_heard.any(axis=1), rounded(special.expit(total)), np.nan)
