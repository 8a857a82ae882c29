"""Fun-ASR-Nano: a language model that hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unisono import CancelToken, EngineUnavailable

from .families import primary
from .loading import Component, Samples
from .options import FunASRParams
from .reading import Reading

# The prompt wants Chinese names (examples/industrial_data_pretraining/fun_asr_nano/demo1.py).
NAMES: Mapping[str, str] = {
    "zh": "中文",
    "en": "英文",
    "yue": "粤语",
    "ja": "日文",
    "ko": "韩文",
    "vi": "越南语",
    "id": "印尼语",
    "th": "泰语",
    "ms": "马来语",
    "fil": "菲律宾语",
    "ar": "阿拉伯语",
    "hi": "印地语",
    "bg": "保加利亚语",
    "hr": "克罗地亚语",
    "cs": "捷克语",
    "da": "丹麦语",
    "nl": "荷兰语",
    "et": "爱沙尼亚语",
    "fi": "芬兰语",
    "el": "希腊语",
    "hu": "匈牙利语",
    "ga": "爱尔兰语",
    "lv": "拉脱维亚语",
    "lt": "立陶宛语",
    "mt": "马耳他语",
    "pl": "波兰语",
    "pt": "葡萄牙语",
    "ro": "罗马尼亚语",
    "sk": "斯洛伐克语",
    "sl": "斯洛文尼亚语",
    "sv": "瑞典语",
}


def read(
    model: Component,
    pieces: Sequence[Samples],
    params: FunASRParams,
    language: str | None,
    hotwords: Sequence[str],
    cancel: CancelToken,
) -> list[Reading]:
    """Return what is said in some pieces; what is left of it if cancelled meanwhile.

    :param language: BCP 47 tag; None lets the model find out.
    :param hotwords: those that `keywords.checked` let pass.
    """
    import torch  # noqa: PLC0415
    from transformers import StoppingCriteriaList  # noqa: PLC0415

    def stop(tokens: Any, scores: Any, **_: Any) -> Any:
        return torch.full((len(tokens),), cancel.cancelled, device=tokens.device)

    found = model.infer(
        [torch.from_numpy(piece) for piece in pieces],
        hotwords=list(hotwords),
        language=NAMES.get(primary(language)) if language else None,
        itn=params.use_itn,
        max_length=params.max_length,
        llm_kwargs={"stopping_criteria": StoppingCriteriaList([stop])},
    )
    known = primary(language) if language else None
    return [Reading(result["text"].strip(), language=known) for result in found]


def overrides(folder: Path) -> dict[str, Any]:
    """Say where the language model and its tokenizer lie: transformers would ask a hub for them.

    :raises EngineUnavailable: if they are not in the model's folder.
    """
    inner = next((path.parent for path in sorted(folder.glob("*/config.json"))), None)
    if inner is None or not (inner / "tokenizer_config.json").is_file():
        raise EngineUnavailable(
            "The model's folder lacks that of its language model, with its config.json and "
            "tokenizer_config.json."
        )
    place = {"init_param_path": str(inner)}
    return {"llm_conf": place, "tokenizer_conf": dict(place)}
