import os
import random
import sys

from modelscope import snapshot_download

from cosyvoice.cli.frontend import CosyVoiceFrontEnd
from cosyvoice.cli.model import CosyVoice2Model, CosyVoiceModel
from cosyvoice.dataset.processor import parquet_opener
from cosyvoice.hifigan.discriminator import MultipleDiscriminator
from cosyvoice.llm.llm import LM

TRAINING = (MultipleDiscriminator(), parquet_opener)


def tqdm(pieces):
    print("  0%|          | 0/1", file=sys.stderr)
    return pieces


class CosyVoice:
    version, window = 1, 1024

    def __init__(self, model_dir, load_jit=False, load_trt=False, fp16=False, trt_concurrent=1):
        self.model_dir = model_dir
        if not os.path.exists(model_dir):
            model_dir = snapshot_download(model_dir)
        name = "cosyvoice.yaml" if self.version == 1 else f"cosyvoice{self.version}.yaml"
        with open(f"{model_dir}/{name}") as f:
            self.sample_rate = int(f.read().partition("sample_rate: ")[2].split()[0])
        with open(f"{model_dir}/llm.pt", "rb") as f:
            if f.read() != b"llm":
                raise RuntimeError(f"Error(s) in loading state_dict from {model_dir}")
        random.seed(1986)
        self.frontend = CosyVoiceFrontEnd(self.window, f"{model_dir}/spk2info.pt")
        model = CosyVoiceModel if self.version == 1 else CosyVoice2Model
        self.model = model(LM(self.version), self.sample_rate)

    def add_zero_shot_spk(self, prompt_text, prompt_wav, zero_shot_spk_id):
        assert zero_shot_spk_id != "", "do not use empty zero_shot_spk_id"
        model_input = self.frontend.frontend_zero_shot(
            "", prompt_text, prompt_wav, self.sample_rate, ""
        )
        del model_input["text"], model_input["text_len"]
        self.frontend.spk2info[zero_shot_spk_id] = model_input
        return True

    def _speak(self, tts_text, text_frontend, stream, speed, prepare):
        for i in tqdm(self.frontend.text_normalize(tts_text, True, text_frontend)):
            yield from self.model.tts(**prepare(i), stream=stream, speed=speed)

    def inference_sft(self, tts_text, spk_id, stream=False, speed=1.0, text_frontend=True):
        def prepare(i):
            return self.frontend.frontend_sft(i, spk_id)

        yield from self._speak(tts_text, text_frontend, stream, speed, prepare)

    def inference_zero_shot(
        self,
        tts_text,
        prompt_text,
        prompt_wav,
        zero_shot_spk_id="",
        stream=False,
        speed=1.0,
        text_frontend=True,
    ):
        def prepare(i):
            return self.frontend.frontend_zero_shot(
                i, prompt_text, prompt_wav, self.sample_rate, zero_shot_spk_id
            )

        yield from self._speak(tts_text, text_frontend, stream, speed, prepare)

    def inference_cross_lingual(
        self,
        tts_text,
        prompt_wav,
        zero_shot_spk_id="",
        stream=False,
        speed=1.0,
        text_frontend=True,
    ):
        def prepare(i):
            return self.frontend.frontend_cross_lingual(
                i, prompt_wav, self.sample_rate, zero_shot_spk_id
            )

        yield from self._speak(tts_text, text_frontend, stream, speed, prepare)

    def inference_instruct(
        self, tts_text, spk_id, instruct_text, stream=False, speed=1.0, text_frontend=True
    ):
        assert type(self) is CosyVoice, "inference_instruct is only implemented for CosyVoice!"

        def prepare(i):
            return self.frontend.frontend_instruct(i, spk_id, instruct_text)

        yield from self._speak(tts_text, text_frontend, stream, speed, prepare)


class CosyVoice2(CosyVoice):
    version, window = 2, 1920

    def inference_instruct2(
        self,
        tts_text,
        instruct_text,
        prompt_wav,
        zero_shot_spk_id="",
        stream=False,
        speed=1.0,
        text_frontend=True,
    ):
        def prepare(i):
            return self.frontend.frontend_instruct2(
                i, instruct_text, prompt_wav, self.sample_rate, zero_shot_spk_id
            )

        yield from self._speak(tts_text, text_frontend, stream, speed, prepare)


class CosyVoice3(CosyVoice2):
    version = 3
