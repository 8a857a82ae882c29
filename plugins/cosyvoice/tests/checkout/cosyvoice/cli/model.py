import threading
import time
import uuid

import numpy as np

from cosyvoice import journal
from cosyvoice import torch_like as torch

LOOKAHEAD = 3
TOKEN_RATE = 25


class CosyVoiceModel:
    def __init__(self, llm, sample_rate):
        self.llm = llm
        self.sample_rate = sample_rate
        self.lock = threading.Lock()
        self.tts_speech_token_dict = {}
        self.llm_end_dict = {}
        self.mel_overlap_dict = {}
        self.flow_cache_dict = {}
        self.hift_cache_dict = {}

    def llm_job(self, text, prompt_text, llm_prompt_speech_token, llm_embedding, uuid):
        for token in self.llm.inference(text=text, prompt_text=prompt_text, uuid=uuid):
            self.tts_speech_token_dict[uuid].append(token)
        self.llm_end_dict[uuid] = True

    def token2wav(self, token, uuid, token_offset, finalize=False, speed=1.0):
        values = np.array(token[token_offset:], np.float32) / 100
        if self.hift_cache_dict[uuid] == "broken":
            raise RuntimeError("CUDA out of memory")
        return torch.Tensor(np.repeat(values, self.sample_rate // TOKEN_RATE)[None])

    def _hop(self):
        return 4 * TOKEN_RATE

    def _longer(self):
        pass

    def tts(
        self,
        text,
        llm_embedding=None,
        prompt_text=None,
        llm_prompt_speech_token=None,
        stream=False,
        speed=1.0,
        **kwargs,
    ):
        this_uuid = str(uuid.uuid1())
        prompt = "" if prompt_text is None else str(prompt_text.numpy()[0])
        journal.SPOKEN.append(
            {
                "text": text,
                "prompt": prompt,
                "tokens": llm_prompt_speech_token is not None,
                "speaker": llm_embedding is not None and llm_embedding.numpy().tolist(),
                "stream": stream,
            }
        )
        with self.lock:
            self.tts_speech_token_dict[this_uuid], self.llm_end_dict[this_uuid] = [], False
            self.hift_cache_dict[this_uuid] = "broken" if "broken vocoder" in text else None
        p = threading.Thread(
            target=self.llm_job,
            args=(text, prompt, llm_prompt_speech_token, llm_embedding, this_uuid),
        )
        p.start()
        offset = 0
        if stream is True:
            while True:
                time.sleep(0.002)
                hop, tokens = self._hop(), self.tts_speech_token_dict[this_uuid]
                if len(tokens) - offset >= hop + LOOKAHEAD:
                    speech = self.token2wav(
                        token=tokens[: offset + hop], uuid=this_uuid, token_offset=offset
                    )
                    offset += hop
                    self._longer()
                    yield {"tts_speech": speech}
                if self.llm_end_dict[this_uuid] and len(tokens) - offset < hop + LOOKAHEAD:
                    break
        p.join()
        tokens = self.tts_speech_token_dict[this_uuid]
        speech = self.token2wav(token=tokens, uuid=this_uuid, token_offset=offset, finalize=True)
        yield {"tts_speech": speech}
        with self.lock:
            self.tts_speech_token_dict.pop(this_uuid)
            self.llm_end_dict.pop(this_uuid)
            self.hift_cache_dict.pop(this_uuid)


class CosyVoice2Model(CosyVoiceModel):
    def __init__(self, llm, sample_rate):
        super().__init__(llm, sample_rate)
        self.token_hop_len = TOKEN_RATE

    def _hop(self):
        return self.token_hop_len

    def _longer(self):
        self.token_hop_len = min(4 * TOKEN_RATE, 2 * self.token_hop_len)
