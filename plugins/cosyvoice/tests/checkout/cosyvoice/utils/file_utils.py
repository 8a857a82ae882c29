import logging

logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(message)s")


def load_wav(wav, target_sr, min_sr=16000):
    raise ImportError("TorchCodec is required for load_with_torchcodec.")
