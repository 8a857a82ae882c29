"""As much of torch as the stand-in, and the plugin, call."""

import io
import pickle
import random as _random
import zipfile
from types import SimpleNamespace

import numpy as np

from cosyvoice import journal

float32 = "float32"
bfloat16 = "bfloat16"
cuda = SimpleNamespace(is_available=lambda: False)


class Tensor:
    def __init__(self, values):
        self._values = np.asarray(values)
        self.shape = self._values.shape
        self.nbytes = self._values.nbytes

    def cpu(self):
        return self

    def numpy(self):
        return self._values


class Module:
    pass


nn = SimpleNamespace(Module=Module)


def from_numpy(values):
    assert isinstance(values, np.ndarray)
    return Tensor(values)


def set_num_threads(count):
    journal.THREADS.append(count)


def manual_seed(seed):
    _random.seed(seed)


def load(file, map_location=None, weights_only=False):
    assert weights_only
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return _Unpickler(io.BytesIO(archive.read(name))).load()


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid):
        return None

    def find_class(self, module, name):
        return dict if name == "OrderedDict" else lambda *_: Tensor([[1.0, 0.0]])
