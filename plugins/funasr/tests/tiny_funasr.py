"""Models that FunASR itself loads and runs, small enough to be made by the tests.

All have random weights but two: the detector takes for speech whatever is loud, and SenseVoice has
learnt some seconds long to write the language that it is told, and a word for each of some tones.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
TONES = {"你": 300, "好": 600, "世": 1200, "界": 2400, "一": 4000, "hi": 6500}
"""Words that the tiny SenseVoice knows, and how many hertz they have; with ITN "一" is "1"."""
TONE_SECONDS, GAP_SECONDS = 0.3, 0.15
CHARACTERS = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多"
    "定行学法所民得经三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由"
    "其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问"
    "意建月公无系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图"
    "山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处队南给色光门即保治北造百规热领七海"
    "口东导器压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至"
    "达走积示议声报斗完类八离华名确才科张信马节话米整空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低"
    "持音众书布复容儿须际商非验连断深难近矿千周委素技备半办青省列习响约支般史感劳便团往酸历市克何除消构府称太准精值"
    "号率族维划选标写存候毛亲快效斯院查江型眼王按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁"
    "价严魔搭艾"
)
WORDS = [*CHARACTERS, *"abcdefghijklmnopqrstuvwxyz"]
TAGS = [
    *("zh", "en", "yue", "ja", "ko", "nospeech", "HAPPY", "SAD", "ANGRY", "NEUTRAL", "FEARFUL"),
    *("DISGUSTED", "SURPRISED", "EMO_UNKNOWN", "BGM", "Speech", "Applause", "Laughter", "Cry"),
    *("Sneeze", "Cough", "Event_UNK", "withitn", "woitn"),
]
FRONT = {
    "fs": RATE,
    "window": "hamming",
    "n_mels": 80,
    "frame_length": 25,
    "frame_shift": 10,
    "lfr_m": 7,
    "lfr_n": 6,
    "dither": 0.0,
    "cmvn_file": None,
}
WIDTH = 64
STEPS = 200


def say(*words: str) -> np.ndarray:
    """Return speech for the tiny models: a tone for each word, with short gaps."""
    time = np.arange(round(TONE_SECONDS * RATE)) / RATE
    level = 0.3 * np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    parts = [(level * np.sin(2 * np.pi * TONES[word] * time), _gap()) for word in words]
    return np.concatenate([part for pair in parts for part in pair]).astype(np.float32)


def pause(seconds: float) -> np.ndarray:
    """Return what the detector takes for silence; it waits for two seconds of it."""
    noise = np.random.default_rng(1).standard_normal(round(seconds * RATE)) * 1e-3
    return noise.astype(np.float32)


def _gap() -> np.ndarray:
    return np.random.default_rng(2).standard_normal(round(GAP_SECONDS * RATE)) * 1e-3


# The models


def vad(folder: Path) -> None:
    """What is louder than -10 dB is speech, but for what the library does at the edges."""
    _write_statistics(folder, 400)
    affine = {"input_affine_dim": 8, "linear_dim": 8, "proj_dim": 8, "output_affine_dim": 8}
    strides = {"lorder": 4, "rorder": 0, "lstride": 1, "rstride": 0}
    configuration = {
        "model": "FsmnVADStreaming",
        "model_conf": {
            "decibel_thres": -10.0,
            "max_end_silence_time": 800,
            "max_single_segment_time": 60_000,
        },
        "encoder": "FSMN",
        "encoder_conf": {"input_dim": 400, "fsmn_layers": 1, "output_dim": 4, **affine, **strides},
        "frontend": "WavFrontendOnline",
        "frontend_conf": {**FRONT, "lfr_m": 5, "lfr_n": 1},
    }

    def tweak(model: Any, _: Any) -> None:
        import torch

        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.01)
            model.encoder.out_linear2.linear.bias.copy_(torch.tensor([-5.0, 2.0, 2.0, 2.0]))

    _save(folder, configuration, {"frontend_conf": {"cmvn_file": "am.mvn"}}, tweak)


def punc(folder: Path) -> None:
    marks = ["<unk>", "_", "，", "。", "？", "、"]
    configuration = {
        "model": "CTTransformer",
        "model_conf": {
            "ignore_id": 0,
            "embed_unit": 32,
            "att_unit": 32,
            "punc_list": marks,
            "punc_weight": [1.0] * len(marks),
            "sentence_end_id": 3,
        },
        "encoder": "SANMEncoder",
        "encoder_conf": _encoder(32, 1, input_size=32, padding_idx=0),
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>"},
    }
    _write_tokens(folder)
    _save(folder, configuration, {"tokenizer_conf": {"token_list": "tokens.json"}})


def paraformer(folder: Path, class_name: str = "Paraformer") -> None:
    """Any Paraformer that is not for streams."""
    _write_statistics(folder, 560)
    tokens = _write_tokens(folder)
    (folder / "seg_dict").write_text("".join(f"{word} {word}\n" for word in WORDS), "utf-8")
    bias = {"inner_dim": WIDTH, "bias_encoder_type": "lstm", "bias_encoder_bid": False}
    seaco = {**bias, "seaco_lsm_weight": 0.1, "seaco_length_normal": True, "train_decoder": True}
    model = {"predictor_weight": 1.0, "predictor_bias": 1, "sampling_ratio": 0.75}
    predictor = {"idim": WIDTH, "threshold": 1.0, "l_order": 1, "r_order": 1}
    upsampling = {"smooth_factor2": 0.25, "noise_threshold2": 0.01, "upsample_times": 3}
    timed = class_name in ("BiCifParaformer", "SeacoParaformer")
    if timed:
        predictor |= {**upsampling, "use_cif1_cnn": False, "upsample_type": "cnn_blstm"}
    configuration = {
        "model": class_name,
        "model_conf": model,
        "encoder": "SANMEncoder",
        "encoder_conf": _encoder(WIDTH, 2),
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": _decoder(2),
        "predictor": "CifPredictorV3" if timed else "CifPredictorV2",
        "predictor_conf": {**predictor, "tail_threshold": 0.45},
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "frontend": "WavFrontend",
        "frontend_conf": FRONT,
    }
    if class_name == "SeacoParaformer":
        configuration["model_conf"] = {**model, **seaco, "NO_BIAS": len(tokens) - 1}
        configuration["seaco_decoder"] = "ParaformerSANMDecoder"
        configuration["seaco_decoder_conf"] = {
            **_decoder(1),
            "kernel_size": 21,
            "use_output_layer": False,
            "wo_input_layer": True,
        }
    if class_name == "ContextualParaformer":
        configuration["model_conf"] = {**model, "inner_dim": WIDTH}
        configuration["decoder"] = "ContextualParaformerDecoder"
    _save(
        folder,
        configuration,
        {
            "tokenizer_conf": {"token_list": "tokens.json", "seg_dict_file": "seg_dict"},
            "frontend_conf": {"cmvn_file": "am.mvn"},
        },
    )


def contextual(folder: Path) -> None:
    paraformer(folder, "ContextualParaformer")


def bicif(folder: Path) -> None:
    paraformer(folder, "BiCifParaformer")


def seaco(folder: Path) -> None:
    paraformer(folder, "SeacoParaformer")


def streaming(folder: Path) -> None:
    _write_statistics(folder, 560)
    _write_tokens(folder)
    chunks = {"chunk_size": [12, 15], "stride": [8, 10], "pad_left": [0, 0]}
    look = {"encoder_att_look_back_factor": [4, 4], "decoder_att_look_back_factor": [1, 1]}
    configuration = {
        "model": "ParaformerStreaming",
        "model_conf": {"predictor_weight": 1.0, "predictor_bias": 1, "sampling_ratio": 0.75},
        "encoder": "SANMEncoderChunkOpt",
        "encoder_conf": _encoder(WIDTH, 2, input_layer="pe_online", **chunks, **look),
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": {**_decoder(2), "sanm_shfit": 5},
        "predictor": "CifPredictorV2",
        "predictor_conf": {
            "idim": WIDTH,
            "threshold": 1.0,
            "l_order": 1,
            "r_order": 1,
            "tail_threshold": 0.45,
        },
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "frontend": "WavFrontendOnline",
        "frontend_conf": FRONT,
    }
    files = {"token_list": "tokens.json"}
    _save(
        folder,
        configuration,
        {"tokenizer_conf": files, "frontend_conf": {"cmvn_file": "am.mvn"}},
    )


def sensevoice(folder: Path) -> None:
    import sentencepiece

    _write_statistics(folder, 560)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*WORDS, "。", "1"] * 20),
        model_prefix=str(folder / "tiny.bpe"),
        vocab_size=1200,
        hard_vocab_limit=False,
        model_type="unigram",
        user_defined_symbols=[*(f"<|{tag}|>" for tag in TAGS), "▁hi"],
        character_coverage=1.0,
        minloglevel=2,
        add_dummy_prefix=False,
    )
    configuration = {
        "model": "SenseVoiceSmall",
        "model_conf": {"length_normalized_loss": True, "sos": 1, "eos": 2, "ignore_id": -1},
        "encoder": "SenseVoiceEncoderSmall",
        "encoder_conf": _encoder(WIDTH, 2, tp_blocks=1),
        "tokenizer": "SentencepiecesTokenizer",
        "tokenizer_conf": {"bpemodel": None, "unk_symbol": "<unk>", "split_with_space": True},
        "frontend": "WavFrontend",
        "frontend_conf": FRONT,
    }
    files = {
        "tokenizer_conf": {"bpemodel": "tiny.bpe.model"},
        "frontend_conf": {"cmvn_file": "am.mvn"},
    }
    _save(folder, configuration, files, _teach)


def _teach(model: Any, configuration: dict[str, Any]) -> None:
    """Teach SenseVoice four tags, and a token for each frame of a tone."""
    import torch
    from funasr.utils.load_utils import extract_fbank

    torch.manual_seed(0)
    draw = random.Random(0)
    number = configuration["tokenizer"].sp.piece_to_id
    languages = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12}
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    pace = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, STEPS)
    for _ in range(STEPS):
        words = draw.choices([*TONES, "一", "一"], k=draw.randint(2, 6))
        before = draw.random()
        samples = np.concatenate([pause(before), say(*words), pause(draw.random())])
        features = [torch.from_numpy(samples)]
        speech = extract_fbank(features, frontend=configuration["frontend"])[0]
        language, itn = draw.choice(list(languages)), draw.random() < 0.5
        targets = [0] * speech.shape[1]
        for frame in range(speech.shape[1]):
            time = frame * 0.06 + 0.0125 - before
            index, within = divmod(time, TONE_SECONDS + GAP_SECONDS)
            if 0 <= index < len(words):
                word = "1" if itn and words[int(index)] == "一" else words[int(index)]
                if 0.03 < within < TONE_SECONDS - 0.03:
                    targets[frame] = number({"hi": "▁hi"}.get(word, word))
        tags = ["zh" if language == "auto" else language, "HAPPY", "Speech"]
        targets = [number(f"<|{tag}|>") for tag in (*tags, "withitn" if itn else "woitn")] + targets
        queries = torch.tensor([[languages[language], 1, 2, 14 if itn else 15]])
        inputs = torch.cat((model.embed(queries), speech), dim=1)
        outputs, _ = model.encoder(inputs, torch.tensor([inputs.shape[1]]))
        scores = model.ctc.log_softmax(outputs)[0]
        loss = torch.nn.functional.nll_loss(scores, torch.tensor(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pace.step()


def nano(folder: Path) -> None:
    """Its language model is a Qwen3 with two layers, whose tokens are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config

    inner = folder / "Qwen3-tiny"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[-1])
    fast.add_special_tokens({"additional_special_tokens": special})
    fast.save_pretrained(inner)
    end = fast.convert_tokens_to_ids(special[-1])
    sizes = {"hidden_size": 32, "intermediate_size": 64, "head_dim": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    config = Qwen3Config(vocab_size=len(fast), eos_token_id=end, pad_token_id=end, **sizes, **heads)
    config.save_pretrained(inner)
    configuration = {
        "model": "FunASRNano",
        "audio_encoder": "SenseVoiceEncoderSmall",
        "audio_encoder_conf": _encoder(WIDTH, 1, tp_blocks=1),
        "audio_adaptor": "Transformer",
        "audio_adaptor_conf": {"downsample_rate": 1, "ffn_dim": 64, "n_layer": 1},
        "llm": "Qwen3",
        # Where nobody says better, this would be asked of a hub.
        "llm_conf": {"init_param_path": "Qwen/Qwen3-tiny", "llm_dtype": "fp32"},
        "tokenizer": "HuggingfaceTokenizer",
        "tokenizer_conf": {"init_param_path": "Qwen/Qwen3-tiny"},
        "frontend": "WavFrontend",
        "frontend_conf": FRONT,
        "dataset_conf": {"do_think": False},
    }
    _write_statistics(folder, 560)
    places = {"llm_conf": {"init_param_path": str(inner)}}
    places["tokenizer_conf"] = {"init_param_path": str(inner)}
    _save(folder, configuration, {"frontend_conf": {"cmvn_file": "am.mvn"}}, overrides=places)


MODELS: dict[str, Callable[[Path], None]] = {
    "vad": vad,
    "punc": punc,
    "paraformer": paraformer,
    "contextual": contextual,
    "bicif": bicif,
    "seaco": seaco,
    "streaming": streaming,
    "sensevoice": sensevoice,
    "nano": nano,
}


# What they have in common


def _encoder(width: int, layers: int, **more: Any) -> dict[str, Any]:
    return {
        "output_size": width,
        "attention_heads": 4,
        "linear_units": 2 * width,
        "num_blocks": layers,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
        "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder",
        "normalize_before": True,
        "kernel_size": 11,
        "sanm_shfit": 0,
        "selfattention_layer_type": "sanm",
        **more,
    }


def _decoder(layers: int) -> dict[str, Any]:
    return {
        "attention_heads": 4,
        "linear_units": 2 * WIDTH,
        "num_blocks": layers,
        "att_layer_num": layers,
        "kernel_size": 11,
        "sanm_shfit": 0,
    }


def _write_statistics(folder: Path, width: int) -> None:
    """Write the mean and the deviation of features, in Kaldi's format."""
    zeros, tenths = (" ".join([value] * width) for value in ("0.0", "0.1"))
    size = f"{width} {width}"
    (folder / "am.mvn").write_text(
        f"<Nnet>\n<Splice> {size}\n[ 0 ]\n<AddShift> {size}\n<LearnRateCoef> 0 [ {zeros} ]\n"
        f"<Rescale> {size}\n<LearnRateCoef> 0 [ {tenths} ]\n</Nnet>\n"
    )


def _write_tokens(folder: Path) -> list[str]:
    tokens = ["<blank>", "<s>", "</s>", *WORDS, "<unk>"]
    (folder / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), "utf-8")
    return tokens


def _save(
    folder: Path,
    configuration: dict[str, Any],
    files: dict[str, Any],
    tweak: Callable[[Any, dict[str, Any]], None] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Make the model with FunASR's own registry, and write its state beside its configuration."""
    import torch
    import yaml
    from funasr import AutoModel

    (folder / "config.yaml").write_text(yaml.safe_dump(configuration, allow_unicode=True), "utf-8")
    metas = {"init_param": "model.pt", "config": "config.yaml", **files}
    (folder / "configuration.json").write_text(json.dumps({"file_path_metas": metas}), "utf-8")
    torch.save({}, folder / "model.pt")
    with redirect_stdout(io.StringIO()):  # what is random is said tensor by tensor
        model, found = AutoModel.build_model(
            model=str(folder), device="cpu", disable_update=True, ncpu=1, **(overrides or {})
        )
    if tweak is not None:
        tweak(model, found)
    torch.save(model.state_dict(), folder / "model.pt")
