"""The saved model for other programs: ONNX and torch.export, taking plain pixels of any number of images."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from fmnist_tune.retrain.saved import PixelModel, SavedModel, to_pixels
from fmnist_tune.training.run import EVAL_BATCH_SIZE

ONNX = "model.onnx"
TORCH_EXPORT = "model.pt2"
INPUT, OUTPUT = "pixels", "scores"


@dataclass(frozen=True)
class ExportCheck:
    """The share of images that the exports, read back, classify as the model itself does."""

    onnx_agreement: float
    torch_export_agreement: float


def export_model(saved: SavedModel, folder: Path, images_NHW: NDArray[np.uint8]) -> ExportCheck:
    """Write `model.onnx` and `model.pt2` and read both back.

    Args:
        saved: the model; left as it is.
        folder: exists.
        images_NHW: at least one image to compare predictions on.
    """
    module = copy.deepcopy(saved.module).to(memory_format=torch.contiguous_format)
    model = PixelModel(module, saved.config.data).eval()
    example = torch.zeros(2, *saved.config.data.spec.shape)
    with torch.no_grad(), _quiet():
        program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        with _replacing(folder / TORCH_EXPORT) as temporary:
            torch.export.save(program, temporary)
        with _replacing(folder / ONNX) as temporary:
            torch.onnx.export(
                program,
                (example,),
                temporary,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: "n"},),
            )
        reloaded = torch.export.load(folder / TORCH_EXPORT).module()
    session = _onnx_session(folder / ONNX)
    expected_N = saved.scores(images_NHW).argmax(axis=1)
    onnx_N, torch_export_N = [], []
    for pixels in to_pixels(images_NHW).split(EVAL_BATCH_SIZE):
        onnx_N.append(np.asarray(session.run([OUTPUT], {INPUT: pixels.numpy()})[0]).argmax(axis=1))
        with torch.inference_mode():
            torch_export_N.append(reloaded(pixels).numpy().argmax(axis=1))
    return ExportCheck(
        float((np.concatenate(onnx_N) == expected_N).mean()),
        float((np.concatenate(torch_export_N) == expected_N).mean()),
    )


def _onnx_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which then replaces `path`."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # both exporters depend on the suffix
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings about themselves: deprecations, and a buffer that PyTorch 2.11 only reads."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
                warnings.simplefilter("ignore", category)
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            yield
    finally:
        logger.setLevel(level)
