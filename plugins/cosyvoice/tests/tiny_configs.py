"""The files that say what a tiny model is made of, for `tiny_cosyvoice`."""

from __future__ import annotations

import json

TOKENS = 100
"""Speech tokens that the models know."""
WIDTH = 32

SAMPLING = (
    "!name:cosyvoice.utils.common.ras_sampling {top_p: 0.8, top_k: 25, win_size: 10, tau_r: 0.1}"
)
CFM = (
    "!new:omegaconf.DictConfig\n      content: {sigma_min: 1.0e-06, solver: euler, "
    "t_scheduler: cosine, training_cfg_rate: 0.2, inference_cfg_rate: 0.7, reg_loss_type: l1}"
)


def conformer(width: int, more: str = "") -> str:
    fields = (
        f"output_size: {width}, attention_heads: 2, linear_units: 32, num_blocks: 1, "
        f"input_size: {width}, input_layer: linear, pos_enc_layer_type: rel_pos_espnet, "
        f"selfattention_layer_type: rel_selfattn, use_cnn_module: False, macaron_style: False{more}"
    )
    return "{" + fields + "}"


def vocoder(kind: str, predictor: str, rates: str, kernels: str, source: str, more: str) -> str:
    blocks = "[" + ", ".join(["[1]"] * len(json.loads(source))) + "]"
    return f"""
hift: !new:cosyvoice.hifigan.generator.{kind}
  in_channels: 80
  base_channels: 32
  nb_harmonics: 8
  sampling_rate: !ref <sample_rate>
  nsf_alpha: 0.1
  nsf_sigma: 0.003
  nsf_voiced_threshold: 10
  upsample_rates: {rates}
  upsample_kernel_sizes: {kernels}
  istft_params: {{n_fft: 16, hop_len: 4}}
  resblock_kernel_sizes: [3]
  resblock_dilation_sizes: [[1]]
  source_resblock_kernel_sizes: {source}
  source_resblock_dilation_sizes: {blocks}
  lrelu_slope: 0.1
  audio_limit: 0.99
{more}  f0_predictor: !new:cosyvoice.hifigan.f0_predictor.{predictor}
    num_class: 1
    in_channels: 80
    cond_channels: 16
"""


def spectrogram(window: int, fmax: str) -> str:
    return f"""
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
  n_fft: {window}
  num_mels: 80
  sampling_rate: !ref <sample_rate>
  hop_size: {window // 4}
  win_size: {window}
  fmin: 0
  fmax: {fmax}
  center: False
allowed_special: all
hifigan: !new:cosyvoice.hifigan.hifigan.HiFiGan
  generator: !ref <hift>
  discriminator: !new:cosyvoice.hifigan.discriminator.MultipleDiscriminator
    mpd: !new:matcha.hifigan.models.MultiPeriodDiscriminator
    mrd: !new:cosyvoice.hifigan.discriminator.MultiResSpecDiscriminator
parquet_opener: !name:cosyvoice.dataset.processor.parquet_opener
"""


def first() -> str:
    lm = conformer(WIDTH)
    return f"""
sample_rate: 22050
llm: !new:cosyvoice.llm.llm.TransformerLM
  text_encoder_input_size: {WIDTH}
  llm_input_size: {WIDTH}
  llm_output_size: {WIDTH}
  text_token_size: 51866
  speech_token_size: {TOKENS}
  spk_embed_dim: 192
  text_encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder {lm}
  llm: !new:cosyvoice.transformer.encoder.TransformerEncoder
    input_size: {WIDTH}
    output_size: {WIDTH}
    attention_heads: 2
    linear_units: 32
    num_blocks: 1
    input_layer: linear_legacy
    pos_enc_layer_type: rel_pos_espnet
    selfattention_layer_type: rel_selfattn
    static_chunk_size: 1
  sampling: {SAMPLING}
flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
  input_size: {WIDTH}
  output_size: 80
  spk_embed_dim: 192
  vocab_size: {TOKENS}
  input_frame_rate: 50
  encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder {lm}
  length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
    channels: 80
    sampling_ratios: [1, 1, 1, 1]
  decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
    in_channels: 240
    n_spks: 1
    spk_emb_dim: 80
    cfm_params: {CFM}
    estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder {{in_channels: 320, out_channels: 80,
      channels: [32, 32], dropout: 0.0, attention_head_dim: 8, n_blocks: 1, num_mid_blocks: 1,
      num_heads: 2, act_fn: gelu}}
get_tokenizer: !name:whisper.tokenizer.get_tokenizer
  multilingual: True
  num_languages: 100
  language: en
  task: transcribe
{vocoder("HiFTGenerator", "ConvRNNF0Predictor", "[8, 8]", "[16, 16]", "[7, 11]", "")}
{spectrogram(1024, "8000")}"""


def later(version: int) -> str:
    lm = "Qwen2LM" if version == 2 else "CosyVoice3LM"
    name = "" if version == 2 else "\n  version: cosyvoice3"
    kind, predictor, more = "HiFTGenerator", "ConvRNNF0Predictor", ""
    if version == 3:
        kind, predictor = "CausalHiFTGenerator", "CausalConvRNNF0Predictor"
        more = "  conv_pre_look_right: 4\n"
    rates, kernels, source = "[8, 5, 3]", "[16, 11, 7]", "[7, 7, 11]"
    return f"""
sample_rate: 24000
qwen_pretrain_path: ''
llm: !new:cosyvoice.llm.llm.{lm}
  llm_input_size: {WIDTH}
  llm_output_size: {WIDTH}
  speech_token_size: {TOKENS}
  mix_ratio: [5, 15]
  llm: !new:cosyvoice.llm.llm.Qwen2Encoder
    pretrain_path: !ref <qwen_pretrain_path>
  sampling: {SAMPLING}
{flow2() if version == 2 else flow3()}
get_tokenizer: !name:cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer
  token_path: !ref <qwen_pretrain_path>
  skip_special_tokens: True{name}
{vocoder(kind, predictor, rates, kernels, source, more)}
{spectrogram(1920, "8000" if version == 2 else "null")}"""


def flow2() -> str:
    encoder = conformer(512, ", static_chunk_size: 25")
    return f"""
flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec
  input_size: 512
  output_size: 80
  spk_embed_dim: 192
  vocab_size: {TOKENS}
  input_frame_rate: 25
  token_mel_ratio: 2
  pre_lookahead_len: 3
  encoder: !new:cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder {encoder}
  decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
    in_channels: 240
    n_spks: 1
    spk_emb_dim: 80
    cfm_params: {CFM}
    estimator: !new:cosyvoice.flow.decoder.CausalConditionalDecoder {{in_channels: 320,
      out_channels: 80, channels: [32], dropout: 0.0, attention_head_dim: 8, n_blocks: 1,
      num_mid_blocks: 1, num_heads: 2, act_fn: gelu, static_chunk_size: 50,
      num_decoding_left_chunks: -1}}
"""


def flow3() -> str:
    return f"""
flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithDiT
  input_size: 80
  output_size: 80
  spk_embed_dim: 192
  vocab_size: {TOKENS}
  input_frame_rate: 25
  token_mel_ratio: 2
  pre_lookahead_len: 3
  pre_lookahead_layer: !new:cosyvoice.transformer.upsample_encoder.PreLookaheadLayer
    in_channels: 80
    channels: 32
    pre_lookahead_len: 3
  decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
    in_channels: 240
    n_spks: 1
    spk_emb_dim: 80
    cfm_params: {CFM}
    estimator: !new:cosyvoice.flow.DiT.dit.DiT {{dim: 64, depth: 1, heads: 2, dim_head: 32,
      ff_mult: 2, mel_dim: 80, mu_dim: 80, spk_dim: 80, out_channels: 80, static_chunk_size: 50,
      num_decoding_left_chunks: -1}}
"""
