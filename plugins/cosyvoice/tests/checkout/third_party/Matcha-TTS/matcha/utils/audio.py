mel_basis = {}
hann_window = {}


def mel_spectrogram(
    y, n_fft, num_mels, sampling_rate, hop_size, win_size, fmin, fmax, center=False
):
    if str(fmax) not in mel_basis:
        mel_basis[str(fmax)] = hann_window["cpu"] = win_size
    if hann_window["cpu"] != win_size:
        raise RuntimeError("stft: expected a window of another size")
    return y.shape[1] // hop_size
