"""FFmpeg on files from anywhere: only what sound needs, and no more memory than it takes."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np

from .boxes import check_index
from .errors import AudioError

SUPPORTED = "Supported formats: aac, flac, m4a, mp3, mp4, mpeg, mpga, oga, ogg, opus, wav, webm."
# Playlists and scripts are formats to FFmpeg too, and they name other files and addresses to
# read. So only these containers are ever opened, and none of them may open anything itself.
_CONTAINERS = "aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,matroska,mp3,mpeg,mpegts,ogg,w64,wav"
"""Beside "mov", whose files are looked at before."""
_SAMPLES = {"u8": "u1", "s16": "<i2", "s32": "<i4", "flt": "<f4", "dbl": "<f8"}
"""FFmpeg's types of samples, and numpy's."""


def open_container(file: BinaryIO) -> Any:
    """Open a file of any kind that holds sound; the result is PyAV's `InputContainer`.

    :raises AudioError: if it is none, or what it announces would not fit into memory.
    """
    import av  # noqa: PLC0415 - 40 ms, and most uploads are plain WAV

    # A file's name would count as evidence, so FFmpeg does not get to see it.
    nameless = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
    options: dict[str, Any] = {}
    if int(av.__version__.split(".")[0]) < 19:  # which is lenient towards tags in any case
        options["metadata_errors"] = "ignore"
    opening = {
        "codec_whitelist": _audio_decoders(),
        "format_whitelist": _CONTAINERS,
        "max_streams": "64",  # each takes a megabyte; FFmpeg would allow a thousand
        "protocol_whitelist": "none",
    }
    try:
        return av.open(nameless, container_options=opening, **options)
    except failures():  # a whitelist is asked when the format is known, before anything is read
        opening["format_whitelist"] = "mov"
        if not check_index(file):
            opening["advanced_editlist"] = "0"
    file.seek(0)
    try:
        return av.open(nameless, container_options=opening, **options)
    except failures() as error:
        message = f"The file could not be decoded: it is no known kind of audio. {SUPPORTED}"
        raise AudioError(message, param="file") from error


def failures() -> tuple[type[Exception], ...]:
    """Return what PyAV raises over damaged files: FFmpeg's errors and its own."""
    import av  # noqa: PLC0415

    return (av.FFmpegError, ValueError, LookupError)


@cache
def _audio_decoders() -> str:
    """Name the decoders that FFmpeg may use to find out what a file is: none for pictures."""
    import av  # noqa: PLC0415

    found = []
    for name in av.codecs_available:
        with suppress(ValueError):  # it can only be written
            found += [name] if av.Codec(name, "r").type == "audio" else []
    return ",".join(found)


def samples_of(frame: Any) -> np.ndarray:
    """Return the samples of a frame: (frames, channels).

    :raises LookupError: if they have a type that no decoder for sound should make.
    """
    channels, count = frame.layout.nb_channels, frame.samples
    type = _SAMPLES[frame.format.name.removesuffix("p")]
    if not frame.format.is_planar:
        return np.frombuffer(frame.planes[0], type, count * channels).reshape(count, channels)
    # Not `to_ndarray`: of eight channels and more, PyAV (18) takes what comes after the pointers
    # to the planes for further ones, and reads there.
    planes = frame.planes[:channels]
    return np.stack([np.frombuffer(plane, type, count) for plane in planes], axis=1)
