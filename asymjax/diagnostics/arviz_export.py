"""Export of draws to ArviZ, for its plots and summaries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from asymjax import trees

if TYPE_CHECKING:
    import arviz


def to_inference_data(
    positions: Mapping[str, Any] | None,
    outputs: ArrayLike | None = None,
    logdensity: ArrayLike | None = None,
    acceptance_rate: ArrayLike | None = None,
    is_divergent: ArrayLike | None = None,
    num_grad_evals: ArrayLike | None = None,
    energy_change: ArrayLike | None = None,
    log_likelihood: ArrayLike | None = None,
) -> "arviz.InferenceData":
    """Convert draws to ``arviz.InferenceData``.

    Parameters
    ----------
    positions : tree of leaves [chain, draw, ...]; in group ``posterior`` as ``dense_0.kernel``, a dot between levels.
    outputs : [chain, draw, input, output], network outputs; in group ``posterior`` as ``outputs``.
    logdensity, acceptance_rate, is_divergent, num_grad_evals, energy_change : [chain, draw]; in group
        ``sample_stats`` as ``lp``, ``acceptance_rate``, ``diverging``, ``num_grad_evals`` and ``energy_error``.
    log_likelihood : [chain, draw, input], for ``arviz.loo``; in group ``log_likelihood`` as ``targets``.

    Returns
    -------
    arviz.InferenceData
        With the groups for which something was given.

    Raises
    ------
    ImportError
        If ArviZ is not installed.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError("the export needs ArviZ: pip install 'asymjax[arviz]'") from error
    posterior = {path.replace("/", "."): leaf for path, leaf in trees.flatten(positions or {}).items()}
    statistics = {
        "lp": logdensity,
        "acceptance_rate": acceptance_rate,
        "diverging": is_divergent,
        "num_grad_evals": num_grad_evals,
        "energy_error": energy_change,
    }
    return arviz.from_dict(
        posterior=_given(posterior | {"outputs": outputs}),
        sample_stats=_given(statistics),
        log_likelihood=_given({"targets": log_likelihood}),
        dims={"outputs": ["input", "output"], "targets": ["input"]},
    )


def _given(arrays: Mapping[str, ArrayLike | None]) -> dict[str, np.ndarray] | None:
    """Drop what is None; None if nothing is left, which is how ArviZ is told to leave out a group."""
    return {name: np.asarray(array) for name, array in arrays.items() if array is not None} or None
