"""api_v2.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from . import sound
from .options import LANGUAGES, RATES, V1_LANGUAGES, Options, State, resolved, version_of

Chunks = Iterator[tuple[int, np.ndarray]]
SILENCE = 16_000, np.zeros(16_000, "<i2")


class OldRequest(BaseModel):
    """The fields of /tts in an older version."""

    text: str | None = None
    text_lang: str | None = None
    ref_audio_path: str | None = None
    aux_ref_audio_paths: list[str] | None = None
    prompt_lang: str | None = None
    prompt_text: str = ""
    top_k: int = 15
    top_p: float = 1
    temperature: float = 1
    text_split_method: str = "cut5"
    batch_size: int = 1
    batch_threshold: float = 0.75
    split_bucket: bool = True
    speed_factor: float = 1.0
    fragment_interval: float = 0.3
    media_type: str = "wav"
    streaming_mode: bool | int = False


class TtsRequest(OldRequest):
    """The fields of /tts."""

    seed: int = -1
    parallel_infer: bool = True
    repetition_penalty: float = 1.35
    sample_steps: int = 32
    super_sampling: bool = False
    overlap_length: int = 2
    min_chunk_length: int = 16


class Pipeline:
    """One for all requests, without any lock."""

    def __init__(self, options: Options, state: State) -> None:
        self._options, self._state = options, state
        self.version = options.version
        self.weights = {"gpt": "", "sovits": ""}
        self.broken: set[str] = set()
        self._path: str | None = None
        self._hertz = 0.0

    def set_reference(self, path: str) -> None:
        data, seconds = sound.recording(resolved(self._options, path))
        if not 3.0 <= seconds <= 10.0:
            raise OSError("参考音频在3~10秒范围外，请更换！")
        self._path, self._hertz = path, sound.pitch(data, "".join(self.weights.values()))
        self._state.pitches[path] = self._hertz

    def run(self, fields: dict[str, Any], mode: int) -> Chunks:
        version = self.version
        if version in ("v3", "v4") and not fields["prompt_text"]:
            raise RuntimeError("prompt_text cannot be empty")
        if fields["ref_audio_path"] != self._path:  # by its path alone
            self.set_reference(fields["ref_audio_path"])
        fragments = sound.cut(fields["text"], fields["text_split_method"])
        if not fragments:
            raise ValueError("请输入有效文本")
        rate = 48_000 if fields.get("super_sampling") else RATES.get(version, 32_000)
        try:
            yield from self._speak(fields, fragments, rate, mode)
        except Exception:
            yield SILENCE
            raise

    def _speak(self, fields: dict[str, Any], texts: list[str], rate: int, mode: int) -> Chunks:
        if fields["batch_size"] < 1:
            time.sleep(self._options.hang_seconds)  # the real one never returns
            raise RuntimeError("batch_size")
        if self.broken:
            raise RuntimeError("there are no such weights")
        if self._state.failures:
            self._state.failures -= 1
            raise RuntimeError("told to fail")
        gap = np.zeros(int(rate * fields["fragment_interval"]), "<i2")
        parts: list[np.ndarray] = []
        for number, text in enumerate(texts):
            time.sleep(sound.slowness(fields["text"]))
            if "[[fail]]" in fields["text"] or ("[[die]]" in fields["text"] and number):
                raise RuntimeError("told to fail")
            self._state.fragments += 1
            # Whatever the reference is by now.
            said = sound.spoken(text, self._hertz, rate, fields["speed_factor"])
            if mode == 0:
                parts += [said, gap]
            else:
                yield rate, np.concatenate([said, gap])
        if mode == 0:
            yield rate, np.concatenate(parts)


def create_v2(options: Options, state: State) -> FastAPI:
    """Make the application."""
    app = FastAPI(openapi_url="/openapi.json" if options.openapi else None)
    pipeline = Pipeline(options, state)
    fields_type = OldRequest if options.old else TtsRequest

    def bad(message: str, error: object = "") -> Response:
        return JSONResponse({"message": message, "Exception": str(error)}, 400)

    @app.get("/control")
    async def control(command: str | None = None) -> Any:
        if command is None:
            return bad("command is required")
        state.requests.append({"path": "/control", "command": command})
        return None

    # Within the event loop, as there: nobody else is answered until a whole text is spoken.
    async def tts(fields: TtsRequest) -> Response:
        values = fields.model_dump()
        state.requests.append({"path": "/tts", "sent": fields.model_fields_set, **values})
        languages = V1_LANGUAGES if pipeline.version == "v1" else LANGUAGES
        for name in ("text", "text_lang", "ref_audio_path", "prompt_lang"):
            if not values[name]:
                return bad(f"{name} is required")
        for name in ("text_lang", "prompt_lang"):
            if values[name] not in languages:
                return bad(f"{name}: {values[name]} is not supported")
        mode, media = int(values["streaming_mode"]), values["media_type"]
        if media not in ("wav", "raw", "ogg", "aac"):
            return bad(f"media_type: {media} is not supported")
        chunks = pipeline.run(values, mode)
        try:
            if mode == 0:
                rate, samples = next(chunks)
                return Response(sound.wav(samples, rate), media_type="audio/wav")
        except Exception as error:
            return bad("tts failed", error)

        def body() -> Iterator[bytes]:
            begun = False
            for rate, samples in chunks:
                if not begun:
                    yield sound.wav(np.zeros(0, "<i2"), rate)
                begun = True
                yield from _pieces(samples.tobytes(), options.piece_bytes)

        return StreamingResponse(body(), media_type=f"audio/{media}")

    tts.__annotations__["fields"] = fields_type
    app.post("/tts")(tts)

    @app.get("/set_refer_audio")
    async def set_refer_audio(refer_audio_path: str) -> Any:
        state.requests.append({"path": "/set_refer_audio", "refer_audio_path": refer_audio_path})
        try:
            pipeline.set_reference(refer_audio_path)
        except Exception as error:
            return bad("set refer audio failed", error)
        return {"message": "success"}

    def set_weights(kind: str, path: str) -> Any:
        state.requests.append({"path": f"/set_{kind}_weights", "weights_path": path})
        if "missing" in path:
            pipeline.broken = {"gpt", "sovits"}
            return bad(f"change {kind} weight failed", f"No such file: {path}")
        pipeline.broken.discard(kind)
        pipeline.weights[kind] = path
        if kind == "sovits":
            pipeline.version = version_of(path, pipeline.version)
        return {"message": "success"}  # and what is kept of the reference stays

    @app.get("/set_gpt_weights")
    async def set_gpt_weights(weights_path: str) -> Any:
        return set_weights("gpt", weights_path)

    @app.get("/set_sovits_weights")
    async def set_sovits_weights(weights_path: str) -> Any:
        return set_weights("sovits", weights_path)

    return app


def _pieces(data: bytes, size: int | None) -> Iterator[bytes]:
    step = size or len(data) or 1
    for start in range(0, len(data), step):
        yield data[start : start + step]
