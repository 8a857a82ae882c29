"""Where the recording of a voice comes from: in the request itself, or from the voice store.

Each class answers the hook `resolve_voice_prompt` for its own kind of reference. The model's own
voices are in `builtin`, addresses and files in `remote` and `files`; a plugin may add a kind.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from .builtin import DEFAULT_NAMES
from .errors import EngineUnavailable, PromptError, UploadTooLarge
from .fields import SpeechFields
from .hookspecs import hookimpl
from .sections import Voices
from .store import VoiceStore
from .types import ModelInfo
from .voice import VoicePrompt, VoiceReference

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PATH = re.compile(r"[./~\\]|.*\.\w{2,4}$")


def reference_of(fields: SpeechFields) -> VoiceReference:
    """Read the reference out of a request; `voice` may carry it (`base64+…`, `url+…`, `file+…`).

    :raises PromptError: if there are two of them, or one is announced and missing.
    """
    name, audio = fields.voice, fields.ref_audio
    kind, plus, rest = (name or "").partition("+")
    if plus and kind in ("base64", "url"):
        if audio is not None:
            raise PromptError("voice: there is a recording in ref_audio already.", param="voice")
        if bool(_URL.match(rest)) != (kind == "url"):
            raise PromptError(f"voice: what follows {kind}+ is no {kind}.", param="voice")
        name, audio = None, rest
    elif plus and kind == "file":
        if audio is None:
            raise PromptError(
                "voice: file+… means that a form brings the recording: upload it as ref_audio.",
                param="voice",
            )
        name = None
    return VoiceReference(name, fields.language, audio, fields.ref_text)


class InlineVoices:
    """Recordings that are in the request: uploaded, base64, or a data: URL (RFC 2397)."""

    def __init__(self, voices: Voices) -> None:
        self._limit = voices.max_bytes

    @hookimpl(trylast=True)
    def resolve_voice_prompt(self, reference: VoiceReference) -> VoicePrompt | None:
        """Return the recording as it was sent."""
        audio = reference.audio
        if audio is None or (isinstance(audio, str) and _is_elsewhere(audio)):
            return None
        # Base64 makes four characters of three bytes, and may be broken into lines.
        if len(audio) > self._limit * (2 if isinstance(audio, str) else 1):
            raise self._too_large(len(audio))
        data = audio if isinstance(audio, bytes) else decoded_recording(audio)
        if len(data) > self._limit:
            raise self._too_large(len(data))
        return VoicePrompt(recording=data)

    def _too_large(self, size: int) -> UploadTooLarge:
        return UploadTooLarge(
            f"ref_audio: {size:,} bytes; at most {self._limit:,} are accepted.", param="ref_audio"
        )


class StoredVoices:
    """Voices of the store, by name or id. One may be the default of a model (`default_voice`)."""

    def __init__(self, store: VoiceStore) -> None:
        self._store = store

    @hookimpl(trylast=True)
    def resolve_voice_prompt(
        self, reference: VoiceReference, model: ModelInfo
    ) -> VoicePrompt | None:
        """Return the voice of this name, unless the model has one of its own."""
        name = reference.name
        own = {voice.name for voice in model.voices}
        if reference.audio is not None or name in own:
            return None
        try:
            voice = self._store.get(name) if name else None
        except EngineUnavailable:
            if name not in DEFAULT_NAMES:
                raise
            voice = None  # what every client of OpenAI says works without a store
        if voice is None and (name is None or name in DEFAULT_NAMES):
            if model.default_voice is None or model.default_voice in own:
                return None
            voice = self._store.get(model.default_voice)
            if voice is None:
                raise PromptError(
                    f"The default voice of model {model.id!r}, {model.default_voice!r}, is not "
                    "stored here; add it, or name another voice.",
                    param="voice",
                )
        if voice is None:
            return None
        return VoicePrompt(
            recording=self._store.recording(voice) if voice.digest else None,
            text=voice.text,
            language=voice.language,
            description=None if voice.digest else voice.description,
            path=self._store.path(voice),
        )


def _is_elsewhere(audio: str) -> bool:
    return bool(_URL.match(audio)) and audio[:5].lower() != "data:"


def decoded_recording(audio: str, param: str = "ref_audio") -> bytes:
    """Return the file that a text carries: base64, or a data: URL.

    :param param: the field that it came in, for errors.
    :raises PromptError: if it is neither, or empty.
    """
    head, comma, payload = audio.partition(",")
    if head[:5].lower() == "data:" and not head.lower().endswith(";base64"):
        if not comma:
            raise PromptError(f"{param}: a data: URL without a comma.", param=param)
        return unquote_to_bytes(payload)
    text = "".join((payload if comma else audio).split())
    try:
        # Some encoders use the alphabet for file names, and some leave out the padding.
        text = text.replace("-", "+").replace("_", "/").rstrip("=")
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        hint = " It looks like a path; send the file itself." if _PATH.match(audio) else ""
        raise PromptError(
            f"{param}: neither base64 nor a data: URL ({error}).{hint}", param=param
        ) from error
    if not data:
        raise PromptError(f"{param}: the recording is empty.", param=param)
    return data
