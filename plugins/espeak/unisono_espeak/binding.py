"""The C interface of eSpeak NG 1.52, as far as it is used (`speak_lib.h`, `espeak_ng.h`)."""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_void_p

OUTPUT_SYNCHRONOUS = 1
TEXT_UTF8, TEXT_SSML, TEXT_END_PAUSE = 0x1, 0x10, 0x1000
EVENT_LIST_TERMINATED, EVENT_WORD = 0, 1
RATE, VOLUME, PITCH, PITCH_RANGE, WORD_GAP = 1, 2, 3, 4, 7


class EventId(ctypes.Union):
    """The union in `espeak_EVENT`; only its size matters here."""

    _fields_ = [("number", c_int), ("name", c_char_p), ("string", ctypes.c_char * 8)]


class Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = [
        ("type", c_int),
        ("unique_identifier", c_uint),
        ("text_position", c_int),
        ("length", c_int),
        ("audio_position", c_int),
        ("sample", c_int),
        ("user_data", c_void_p),
        ("id", EventId),
    ]


SynthCallback = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, POINTER(Event))
"""`t_espeak_callback`: samples, their number, events; it returns 1 to stop the synthesis."""


@functools.cache
def load() -> ctypes.CDLL:
    """Load the shared library, once, and declare its functions.

    :raises OSError: if it cannot be loaded.
    """
    import espeakng_loader  # noqa: PLC0415 - the plugin must import without touching the library

    espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    for name, result, *arguments in (
        ("espeak_Info", c_char_p, POINTER(c_char_p)),
        ("espeak_SetSynthCallback", None, SynthCallback),
        (
            "espeak_Synth",
            *(c_int, c_char_p, c_size_t, c_uint, c_int, c_uint, c_uint, c_void_p, c_void_p),
        ),
        ("espeak_ng_GetSampleRate", c_int),
        ("espeak_ng_GetStatusCodeMessage", None, c_uint, c_char_p, c_size_t),
        ("espeak_ng_Initialize", c_int, c_void_p),
        ("espeak_ng_InitializeOutput", c_int, c_int, c_int, c_char_p),
        ("espeak_ng_InitializePath", None, c_char_p),
        ("espeak_ng_SetParameter", c_int, c_int, c_int, c_int),
        ("espeak_ng_SetVoiceByName", c_int, c_char_p),
        ("espeak_ng_Terminate", c_int),
    ):
        function = getattr(espeak, name)
        function.restype, function.argtypes = result, arguments
    return espeak


def check(status: int) -> None:
    """Raise the library's own words unless a status says success.

    :raises OSError: if it does not.
    """
    if status != 0:
        message = ctypes.create_string_buffer(200)
        load().espeak_ng_GetStatusCodeMessage(status, message, len(message))
        raise OSError(f"espeak-ng: {message.value.decode(errors='replace')}")
