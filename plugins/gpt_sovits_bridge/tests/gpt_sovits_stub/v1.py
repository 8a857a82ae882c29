"""api.py."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from . import sound
from .options import LANGUAGES, RATES, Options, State, resolved, version_of


def create_v1(options: Options, state: State) -> FastAPI:
    """Make the application."""
    app = FastAPI(openapi_url="/openapi.json" if options.openapi else None)
    default = list(options.default_reference)
    version = [options.version]

    def bad(message: str) -> Response:
        return JSONResponse({"code": 400, "message": message}, 400)

    def speak(fields: dict[str, Any]) -> Response:
        state.requests.append({"path": "/", **fields})
        reference = [
            fields.get(name) for name in ("refer_wav_path", "prompt_text", "prompt_language")
        ]
        if not all(reference):  # no word about it
            reference = list(default)
            if not all(reference):
                return bad("未指定参考音频且接口无预设")
        text = fields["text"]
        stops = "".join(c for c in fields.get("cut_punc") or "" if c in ",.;?!、，。？！；：…")
        parts = re.split(f"(?<=[{re.escape(stops)}])", text) if stops else [text]

        def body() -> Iterator[bytes]:
            path, _, language = reference
            data, _ = sound.recording(resolved(options, str(path)))
            for name in (language, fields.get("text_language")):
                if str(name).lower() not in LANGUAGES:
                    raise KeyError(name)
            rate = RATES.get(version[0], 32_000)
            said: list[np.ndarray] = [np.zeros(0, "<i2")]
            for number, part in enumerate(p for p in parts if any(map(str.isalnum, p))):
                time.sleep(sound.slowness(text))
                if "[[fail]]" in text or ("[[die]]" in text and number):
                    raise RuntimeError("told to fail")
                speed = fields.get("speed", 1.0)
                said.append(sound.spoken(part, sound.pitch(data), rate, speed))
            samples = np.concatenate(said[:1] if "[[empty]]" in text else said)
            wide = samples.astype("<i4") * 65536 if options.int32 else samples
            yield sound.wav(wide, rate)

        return StreamingResponse(body(), media_type=f"audio/{options.media_type}")

    @app.post("/")
    async def tts_post(request: Request) -> Response:
        return speak(await request.json())

    @app.get("/")
    async def tts_get(
        refer_wav_path: str | None = None,
        prompt_text: str | None = None,
        prompt_language: str | None = None,
        text: str | None = None,
        text_language: str | None = None,
        cut_punc: str | None = None,
        top_k: int = 15,
        top_p: float = 1.0,
        temperature: float = 1.0,
        speed: float = 1.0,
        sample_steps: int = 32,
        if_sr: bool = False,
    ) -> Response:
        return speak(dict(locals()))

    @app.get("/change_refer")
    async def change_refer(refer_wav_path: str | None = None) -> Any:
        state.requests.append({"path": "/change_refer", "refer_wav_path": refer_wav_path})
        return {"code": 0, "message": "Success"}

    @app.get("/set_model")
    async def set_model(
        gpt_model_path: str | None = None, sovits_model_path: str | None = None
    ) -> Any:
        paths = gpt_model_path, sovits_model_path
        state.requests.append({"path": "/set_model", "paths": paths})
        for path in paths:
            if path is None or "missing" in path:
                return bad(f"[Errno 2] No such file or directory: '{path}'")
        version[0] = version_of(str(sovits_model_path), version[0])
        return {"code": 0, "message": "Success"}

    @app.get("/control")
    async def control(command: str | None = None) -> None:
        if command is not None:
            state.requests.append({"path": "/control", "command": command})

    return app
