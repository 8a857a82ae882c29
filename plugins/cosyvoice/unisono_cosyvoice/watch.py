"""One call of upstream's `tts`, which cannot be stopped, forgets errors, and leaks.

It computes speech tokens on a thread of its own and turns them into audio on the caller's. If that
thread fails, a stream waits for ever, and other speech comes out empty or fails in some other way;
if the caller stops listening, the thread goes on, and what it has is kept for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from unisono import CancelToken

_STATE = (
    "tts_speech_token_dict",
    "llm_end_dict",
    "mel_overlap_dict",
    "flow_cache_dict",
    "hift_cache_dict",
)
"""Where a model of upstream keeps what belongs to one call."""


class Stopped(Exception):
    """Nobody waits for the speech any more."""


class Watch:
    """Watches over one call: `with Watch(...)` around all of the generator's life.

    One at a time for each model.

    :param model: upstream's `CosyVoiceModel`.
    :param hop: tokens in the first chunk of a stream; None for CosyVoice 1, which does not vary
        them. The others double them while they speak, and go on from there with the next text.
    """

    def __init__(self, model: Any, hop: int | None, cancel: CancelToken) -> None:
        self._model = model
        self._hop = hop
        self._cancel = cancel
        self._over = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._job = model.llm_job
        self._render = model.token2wav
        self._tokens = model.llm.inference

    def __enter__(self) -> Watch:
        self._model.llm_job = self._run
        self._model.token2wav = self._audio
        self._model.llm.inference = self._inference
        if self._hop is not None:
            self._model.token_hop_len = self._hop
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread, after one more token at most, and forget what belongs to the call."""
        self._over = True
        if self._thread is not None:
            self._thread.join()
        for name in _STATE:
            vars(self._model).get(name, {}).clear()
        # The class's own methods show again.
        del self._model.llm_job, self._model.token2wav, self._model.llm.inference

    def _run(self, *arguments: Any) -> None:
        """Do what `llm_job` does, on upstream's thread."""
        self._thread = threading.current_thread()
        try:
            self._check()
            self._job(*arguments)
        except BaseException as error:
            self._error = error
        finally:
            # A stream waits for this; the last of the arguments is the name of the call.
            if not self._over:
                self._model.llm_end_dict[arguments[-1]] = True

    def _inference(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        for token in self._tokens(*arguments, **options):
            self._check()
            yield token

    def _audio(self, *arguments: Any, **options: Any) -> Any:
        """Do what `token2wav` does, on the caller's thread."""
        if self._error is not None:
            raise self._error
        self._check()
        return self._render(*arguments, **options)

    def _check(self) -> None:
        if self._over or self._cancel.cancelled:
            raise Stopped
