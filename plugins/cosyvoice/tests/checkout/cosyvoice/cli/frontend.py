import os
import re
from collections.abc import Generator

import numpy as np
from matcha.utils.audio import mel_spectrogram

from cosyvoice import journal
from cosyvoice import torch_like as torch
from cosyvoice.utils.file_utils import load_wav


class CosyVoiceFrontEnd:
    def __init__(self, window, spk2info):
        self.window = window
        self.device = "cpu"
        self.spk2info = {}
        if os.path.exists(spk2info):
            self.spk2info = torch.load(spk2info, map_location=self.device, weights_only=True)

    def _extract_text_token(self, text):
        return torch.Tensor(np.array([text])), torch.Tensor([len(text)])

    def _read(self, prompt_wav, rate):
        return load_wav(prompt_wav, rate)

    def _extract_speech_token(self, prompt_wav):
        speech = self._read(prompt_wav, 16000)
        assert speech.shape[1] / 16000 <= 30, "do not support audio longer than 30s"
        return torch.Tensor(np.zeros((1, speech.shape[1] // 640), np.int32))

    def _extract_speech_feat(self, prompt_wav):
        speech = self._read(prompt_wav, 24000)
        journal.PROMPTS.append(speech.numpy())
        frames = mel_spectrogram(speech, self.window, 80, 0, self.window // 4, self.window, 0, 8000)
        return torch.Tensor(np.zeros((1, frames, 80), np.float32))

    def text_normalize(self, text, split=True, text_frontend=True):
        if isinstance(text, Generator):
            return [text]
        if "<|" in text and "|>" in text:
            text_frontend = False
        if text_frontend is False or text == "":
            return [text] if split else text
        text = text.strip().replace("2", "two")
        pieces = [piece.strip() for piece in re.split(r"(?<=[.?!。])", text)]
        return [piece for piece in pieces if re.search(r"\w", piece)] if split else text

    def frontend_sft(self, tts_text, spk_id):
        embedding = self.spk2info[spk_id]["embedding"]
        return {"text": tts_text, "llm_embedding": embedding, "flow_embedding": embedding}

    def frontend_zero_shot(
        self, tts_text, prompt_text, prompt_wav, resample_rate, zero_shot_spk_id
    ):
        if zero_shot_spk_id == "":
            feat = self._extract_speech_feat(prompt_wav)
            token = self._extract_speech_token(prompt_wav)
            prompt, prompt_len = self._extract_text_token(prompt_text)
            model_input = {
                "prompt_text": prompt,
                "prompt_text_len": prompt_len,
                "llm_prompt_speech_token": token,
                "llm_prompt_speech_token_len": torch.Tensor([token.shape[1]]),
                "prompt_speech_feat": feat,
                "llm_embedding": torch.Tensor([[0.0, 1.0]]),
            }
        else:
            model_input = {**self.spk2info[zero_shot_spk_id]}
        model_input["text"], model_input["text_len"] = tts_text, len(tts_text)
        return model_input

    def frontend_cross_lingual(self, tts_text, prompt_wav, resample_rate, zero_shot_spk_id):
        model_input = self.frontend_zero_shot(
            tts_text, "", prompt_wav, resample_rate, zero_shot_spk_id
        )
        for name in ("prompt_text", "prompt_text_len", "llm_prompt_speech_token"):
            del model_input[name]
        return model_input

    def frontend_instruct(self, tts_text, spk_id, instruct_text):
        model_input = self.frontend_sft(tts_text, spk_id)
        del model_input["llm_embedding"]
        model_input["prompt_text"], _ = self._extract_text_token(instruct_text)
        return model_input

    def frontend_instruct2(
        self, tts_text, instruct_text, prompt_wav, resample_rate, zero_shot_spk_id
    ):
        model_input = self.frontend_zero_shot(
            tts_text, instruct_text, prompt_wav, resample_rate, zero_shot_spk_id
        )
        del model_input["llm_prompt_speech_token"]
        return model_input
