"""Every error the kernel or a plugin may raise.

* SpeechError
  + RequestError           400  the caller can mend it; not worth a retry
    - UnsupportedFeature   400  the model lacks what was asked for
    - PromptError          400  the voice or the reference audio cannot be used
      . UnknownVoice       400  nobody has a voice of this name
    - AudioError           400  the uploaded audio cannot be decoded or is out of bounds
    - InvalidKey           401  no API key, or a wrong one
    - ModelNotFound        404
    - VoiceNotFound        404
    - UploadTooLarge       413
  + EngineOverloaded       429  retry later: the queue is full
  + EngineFailed           500  a bug in a plugin; raised only by the kernel
  + EngineUnavailable      503  retry later: not installed, upstream down, loading failed
* PluginError                   at start-up, never during a request
* ConfigError                   at start-up, never during a request

Clients see OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``.
"""

from __future__ import annotations


class SpeechError(Exception):
    """Base class. `str(error)` is shown to the client, so it names no path and no secret.

    :param message: what is wrong and what to do about it.
    :param param: the request field at fault, if one is.
    :param code: a machine-readable word that replaces the class's own.
    """

    status: int = 500
    code: str = "internal_error"
    retry_after: int | None = None
    """Seconds after which a retry makes sense; sent as `Retry-After`."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code

    @property
    def type(self) -> str:
        """OpenAI's `type` of this error."""
        return "invalid_request_error" if self.status < 500 else "server_error"

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error in OpenAI's shape; all four keys are always present."""
        error = {"message": str(self), "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


class RequestError(SpeechError):
    """The request is wrong and will stay wrong. `param` names the offending field."""

    status, code = 400, "invalid_request"


class UnsupportedFeature(RequestError):
    """The model does not declare the feature that the request needs."""

    code = "unsupported_feature"


class PromptError(RequestError):
    """The voice is unknown, or its reference audio or transcript cannot be used."""

    code = "invalid_voice"


class UnknownVoice(PromptError):
    """Neither the model nor the store has a voice of this name."""


class AudioError(RequestError):
    """The uploaded audio is not audio, is damaged, too short or too long."""

    code = "invalid_audio"


class InvalidKey(RequestError):
    """The server wants an API key and the request brought none, or a wrong one."""

    status, code = 401, "invalid_api_key"


class ModelNotFound(RequestError):
    """No installed engine serves a model of this name."""

    status, code = 404, "model_not_found"


class VoiceNotFound(RequestError):
    """No voice of this name is stored. Speaking with an unknown voice is a `PromptError`."""

    status, code = 404, "voice_not_found"


class UploadTooLarge(RequestError):
    """The request body is larger than the operator allows."""

    status, code = 413, "request_too_large"


class EngineOverloaded(SpeechError):
    """As many requests as the operator allows are waiting already."""

    status, code = 429, "engine_overloaded"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)

    @property
    def type(self) -> str:
        """OpenAI's `type` of this error."""
        return "rate_limit_error"


class EngineFailed(SpeechError):
    """An engine raised something that is not a `SpeechError`. Plugins never raise this."""

    code = "engine_failed"


class EngineUnavailable(SpeechError):
    """The engine cannot serve now; say in the message what the operator should do."""

    status, code = 503, "engine_unavailable"


class PluginError(Exception):
    """A plugin cannot be registered: an import failed, a name is taken, a hook is misshapen."""


class ConfigError(Exception):
    """The configuration is wrong; the message names the key and where it came from."""
