"""Who says what: the turns of a request as ZipVoice's dialogue models want to read them.

They know speakers by the order of the tags alone (`extract_spk_indices`): odd ones are the first
speaker's, even ones the second's, over reference and text. So tags must alternate, and the
reference must have both speakers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from unisono import PromptError, RequestError, Turn, VoicePrompt

from .prompts import side_by_side
from .tokens import SPEAKERS

_TAG = re.compile(r"\[S[12]\]")


@dataclass(frozen=True, eq=False)
class Script:
    """A dialogue, and the reference that it goes on from."""

    text: str
    prompt_text: str
    samples: np.ndarray
    """float32, (frames,) or (frames, 2)."""


def write_script(turns: Sequence[Turn], *, stereo: bool) -> Script:
    """Write down a dialogue. Who speaks alone has both parts of the reference.

    :raises RequestError: if it has more than two voices.
    :raises PromptError: if a voice lacks its recording or transcript.
    """
    voices: list[VoicePrompt] = []
    lines: list[tuple[int, str]] = []
    for turn in turns:
        same = [i for i, voice in enumerate(voices) if _is_same(voice, turn.voice)]
        if not same:
            voices.append(turn.voice)
        lines.append((same[0] if same else len(voices) - 1, turn.text))
    if len(voices) > len(SPEAKERS):
        raise RequestError(
            f"ZipVoice's dialogues have two voices; this one has {len(voices)}.", param="input"
        )
    both = [voices[0], voices[-1]]
    recordings = [_recording(voice) for voice in both]
    return Script(
        text=_written(lines),
        prompt_text=_written((i, voice.text or "") for i, voice in enumerate(both)),
        samples=side_by_side(recordings) if stereo else np.concatenate(recordings),
    )


def _is_same(one: VoicePrompt, other: VoicePrompt) -> bool:
    return one is other or (one.digest == other.digest != "" and one.text == other.text)


def _written(lines: Iterable[tuple[int, str]]) -> str:
    """Give each speaker a tag whenever it is another's turn."""
    written, last = "", None
    for speaker, text in lines:
        said = _TAG.sub(" ", text).strip()
        written += f" {said}" if speaker == last else f"{SPEAKERS[speaker]}{said}"
        last = speaker
    return written


def _recording(voice: VoicePrompt) -> np.ndarray:
    if voice.audio is None or not (voice.text or "").strip():
        raise PromptError(
            "Every voice of a dialogue needs a recording and what is said in it.", param="voice"
        )
    return voice.audio.samples.reshape(-1)
