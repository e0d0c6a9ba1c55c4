"""`python -m pi_emulator.count_gate`: count a second of each voice activity detector."""

import numpy as np
import webrtcvad

from firmware_host.golden import golden_waveform
from firmware_host.speech_gate import SpeechGate
from pi_emulator.guest_rss import guest_rss
from pi_emulator.regions import count_region

WEBRTC, SILERO = 1, 2
FRAME = 480  # samples, 30 ms: the longest of WebRTC's


def main() -> None:
    """Count both; print how much resident memory Silero's took."""
    signal = golden_waveform(1, 16_000)
    pcm = (signal * 32_768).astype(np.int16).tobytes()
    vad = webrtcvad.Vad(2)
    frames = [pcm[2 * at : 2 * (at + FRAME)] for at in range(0, 16_000 - FRAME + 1, FRAME)]
    count_region(lambda: [vad.is_speech(frame, 16_000) for frame in frames], WEBRTC)
    before = guest_rss()
    gate = SpeechGate()

    def listen() -> None:
        gate.feed(signal)
        gate.share(10**9, 10**9)  # forgets, as the next window does

    count_region(listen, SILERO)
    print(guest_rss() - before)


if __name__ == "__main__":
    main()
