"""Silero VAD: how likely each 32 ms of a recording hold speech.

The network of Silero VAD 6.2 (https://github.com/snakers4/silero-vad) written in numpy. Half a
million multiplications for 32 ms need no library of their own, and numpy, unlike those, keeps to
one thread here and lets other threads run.

`weights.npz` is upstream's `silero_vad_16k_op15.onnx` (SHA-256 7ed98ddb…1f2c49) with three changes:
float16, the two biases of the LSTM added up, and no Fourier basis, which `rfft` replaces. It is
under the MIT licence beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

RATE = 16_000
"""Hertz of the samples."""
WINDOW = 512
"""Frames for which there is one probability."""
_CONTEXT = 64
_FOURIER = 256
_HOP = 128
_HIDDEN = 128
_STRIDES = (1, 2, 2, 1)
_AT_ONCE = 64
"""Windows; bounds memory, and larger groups are no faster."""


class Silero:
    """Listens to one recording, in blocks of any size. One thread at a time.

    The probabilities do not depend on how the recording is cut into blocks, not in a single bit.
    """

    def __init__(self) -> None:
        self._weights = _weights()
        self._rest = np.empty(0, np.float32)
        self._before = np.zeros(_CONTEXT, np.float32)
        self._hidden = np.zeros(_HIDDEN, np.float32)
        self._cell = np.zeros(_HIDDEN, np.float32)

    def write(self, block: np.ndarray) -> np.ndarray:
        """Return the probabilities of the windows that are complete, possibly none.

        Less than a window at the end of a recording is too short to tell.

        :param block: the next samples at `RATE`: float32 in [-1, 1], (frames,), none of them NaN.
        """
        samples = np.concatenate([self._rest, block]) if len(self._rest) else block
        count = len(samples) // WINDOW
        self._rest = samples[count * WINDOW :].astype(np.float32)
        windows = samples[: count * WINDOW].reshape(count, WINDOW)
        groups = [windows[at : at + _AT_ONCE] for at in range(0, count, _AT_ONCE)]
        return np.concatenate([np.empty(0, np.float32), *map(self._listen, groups)])

    def _listen(self, windows: np.ndarray) -> np.ndarray:
        weights = self._weights
        heard = _spectra(windows, self._before)
        self._before = windows[-1, -_CONTEXT:].copy()
        for number, stride in enumerate(_STRIDES, 1):
            heard = _convolved(heard, weights, f"conv{number}", stride)
        inputs = (heard @ weights["lstm_cell.weight_ih"])[:, 0] + weights["lstm_cell.bias"]
        hidden = self._remember(inputs)
        # Not a product with a vector: its last bits depend on how many windows there are.
        logits = (np.maximum(hidden, 0) * weights["final_conv.weight"]).sum(axis=1)
        likely: np.ndarray = 0.5 + 0.5 * np.tanh(0.5 * (logits + weights["final_conv.bias"]))
        return likely

    def _remember(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs of the LSTM: (windows, 128)."""
        recurrent = self._weights["lstm_cell.weight_hh"]
        outputs = np.empty((len(inputs), _HIDDEN), np.float32)
        for at, given in enumerate(inputs):
            gates = np.tanh(recurrent @ self._hidden + given)
            take, forget, show = 0.5 + 0.5 * gates[: 3 * _HIDDEN].reshape(3, _HIDDEN)
            self._cell = forget * self._cell + take * gates[3 * _HIDDEN :]
            self._hidden = outputs[at] = show * np.tanh(self._cell)
        return outputs


def _spectra(windows: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return magnitudes of four overlapping parts of each window: (windows, 4, 129).

    :param before: the end of the window before the first.
    """
    end = _CONTEXT + WINDOW
    padded = np.empty((len(windows), end + _CONTEXT), np.float32)
    padded[0, :_CONTEXT] = before
    padded[1:, :_CONTEXT] = windows[:-1, -_CONTEXT:]
    padded[:, _CONTEXT:end] = windows
    padded[:, end:] = padded[:, end - 2 : end - 2 - _CONTEXT : -1]
    parts = np.lib.stride_tricks.sliding_window_view(padded, _FOURIER, axis=1)[:, ::_HOP]
    hann = np.hanning(_FOURIER + 1)[:-1].astype(np.float32)
    spectra: np.ndarray = np.abs(np.fft.rfft(parts * hann)).astype(np.float32)
    return spectra


def _convolved(
    heard: np.ndarray, weights: Mapping[str, np.ndarray], name: str, stride: int
) -> np.ndarray:
    """Apply a layer of width 3 and cut off what is negative: (windows, times, channels)."""
    padded = np.pad(heard, ((0, 0), (1, 1), (0, 0)))
    around = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)[:, ::stride]
    rows = np.ascontiguousarray(around).reshape(*around.shape[:2], -1)
    # Window by window, which numpy does of three axes: so small that BLAS starts no threads.
    mixed = rows @ weights[f"{name}.weight"] + weights[f"{name}.bias"]
    rectified: np.ndarray = np.maximum(mixed, 0, out=mixed)
    return rectified


@lru_cache(maxsize=1)
def _weights() -> Mapping[str, np.ndarray]:
    """Read the weights, once, and turn them the way they are used."""
    with np.load(Path(__file__).with_name("weights.npz")) as file:
        weights = {name: file[name].astype(np.float32) for name in file.files}
    for number in range(1, len(_STRIDES) + 1):
        kernel = weights[f"conv{number}.weight"]
        weights[f"conv{number}.weight"] = np.ascontiguousarray(kernel.reshape(len(kernel), -1).T)
    weights["final_conv.weight"] = weights["final_conv.weight"].ravel()
    # Input, forget, cell, output: the cell goes last, and sigmoid(x) = (1 + tanh(x / 2)) / 2.
    order = np.r_[0 : 2 * _HIDDEN, 3 * _HIDDEN : 4 * _HIDDEN, 2 * _HIDDEN : 3 * _HIDDEN]
    scale = np.repeat(np.array([0.5, 1], np.float32), [3 * _HIDDEN, _HIDDEN])
    for name in ("weight_ih", "weight_hh", "bias"):
        gates = weights[f"lstm_cell.{name}"][order]
        weights[f"lstm_cell.{name}"] = np.ascontiguousarray((gates.T * scale).T)
    weights["lstm_cell.weight_ih"] = np.ascontiguousarray(weights["lstm_cell.weight_ih"].T)
    return weights
