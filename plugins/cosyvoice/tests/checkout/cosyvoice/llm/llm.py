import random
import re
import time
from types import SimpleNamespace

from cosyvoice import journal
from cosyvoice import torch_like as torch


class DynamicCache:
    """As of transformers 4.54: without indices."""

    def __init__(self):
        self.layers = []
        self.length = 0


class Qwen2ForCausalLM:
    """Sees a position if the mask says so; its hidden state is how many it sees."""

    @classmethod
    def from_pretrained(cls, path, torch_dtype="auto"):
        journal.LOADED.append(torch_dtype)
        return cls()

    def __call__(
        self,
        inputs_embeds,
        attention_mask,
        output_hidden_states,
        return_dict,
        use_cache,
        past_key_values,
    ):
        cache = past_key_values or DynamicCache()
        cache.length += inputs_embeds
        cache.layers[:] = [SimpleNamespace(keys=cache.length, values=-cache.length)]
        seen = cache.length if attention_mask is None else min(attention_mask, cache.length)
        return SimpleNamespace(hidden_states=[None, seen], past_key_values=cache)


class Qwen2Encoder(torch.nn.Module):
    def __init__(self, pretrain_path):
        self.model = Qwen2ForCausalLM.from_pretrained(pretrain_path)

    def forward_one_step(self, xs, masks, cache=None):
        outs = self.model(
            inputs_embeds=xs,
            attention_mask=masks,
            output_hidden_states=True,
            return_dict=True,
            use_cache=True,
            past_key_values=cache,
        )
        return outs.hidden_states[-1], outs.past_key_values


class LM:
    """One token for each character, and what the text says about failures."""

    def __init__(self, version):
        self.version = version
        self.llm = Qwen2Encoder("blank") if version > 1 else None

    def inference(self, text, prompt_text, uuid=""):
        said = prompt_text + text
        if self.version == 3:
            assert "<|endofprompt|>" in said, "<|endofprompt|> not detected in CosyVoice3 text"
        cache, length, seen = None, len(said), []
        journal.SPOKEN[-1]["seen"] = seen
        words = re.sub(r"<\|.*?\|>", "", text)
        for index in range(len(words)):
            if words[index:].startswith("broken model"):
                raise RuntimeError("CUDA error: device-side assert triggered")
            if "slow model" in text:
                time.sleep(0.005)
            if self.llm is not None:
                visible, cache = self.llm.forward_one_step(length, length, cache)
                seen.append(visible)
                length = 1
            yield random.randrange(1, 100)
