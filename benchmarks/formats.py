"""Where the audio begins in the bytes of a container."""

from __future__ import annotations


def audio_start(name: str, head: bytes) -> int | None:
    """Return the offset of the first byte of audio; None while only headers have come.

    :param head: the first bytes of the body, as many as there are.
    """
    start = _STARTS[name](head)
    return start if start is not None and start < len(head) else None


def _wav(head: bytes) -> int | None:
    found = head.find(b"data")
    return None if found < 0 else found + 8


def _mp3(head: bytes) -> int | None:
    """Skip an ID3v2 tag and the frame that carries only a Xing or Info header."""
    start = 0
    if head[:3] == b"ID3":
        if len(head) < 10:
            return None
        size = 0
        for byte in head[6:10]:  # seven bits each
            size = size << 7 | byte
        start = 10 + size
    frame = head[start : start + 200]
    if b"Xing" in frame or b"Info" in frame:
        following = head.find(frame[:2], start + 4)
        return None if following < 0 else following
    return start


def _ogg_opus(head: bytes) -> int | None:
    """Skip the pages of the two header packets: RFC 7845, section 3; RFC 3533, section 6."""
    page = 0
    while len(head) >= page + 27:
        lacing = head[page + 27 : page + 27 + head[page + 26]]
        body = page + 27 + head[page + 26]
        if head[body : body + 8] not in (b"OpusHead", b"OpusTags"):
            return body
        page = body + sum(lacing)
    return None


_STARTS = {"wav": _wav, "mp3": _mp3, "opus": _ogg_opus}
