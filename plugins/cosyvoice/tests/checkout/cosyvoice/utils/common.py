import random

from cosyvoice import torch_like as torch


def set_all_random_seed(seed):
    assert 0 <= seed < 2**32
    random.seed(seed)
    torch.manual_seed(seed)
