"""Every real codec there and back."""

import numpy as np
import pytest
from tests.split import scene

from sparsight.errors import UsageError
from sparsight_cloud.rates.encoders import encoder
from sparsight_cloud.rates.rows import VIDEO, WHOLE
from sparsight_cloud.rates.streams import H264_LOW_DELAY, H265_LOW_DELAY, Coding, streamed


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def smooth(seed: int, hw: tuple[int, int]) -> np.ndarray:
    """A scene without noise, which no codec would keep."""
    frame = scene(seed, hw)
    frame[(frame >= 80).all(2) & (frame < 150).all(2)] = 110
    return frame


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("hw", [(144, 256), (91, 135)])
def test_qualities_order_bytes_and_errors(name: str, hw: tuple[int, int]) -> None:
    codec, picture = encoder(name), smooth(1, hw)
    coded = [codec.encode(picture, quality) for quality in WHOLE[name]]
    decoded = [codec.decode(data, hw) for data in coded]
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in decoded)
    assert [len(data) for data in coded] == sorted(len(data) for data in coded)
    assert len(coded[-1]) > 1.05 * len(coded[0])
    errors = [psnr_db(picture, one) for one in decoded]
    assert errors[0] < errors[-1]
    assert errors[-1] > 27  # chroma is at half size, and the rectangles are colourful
    assert codec.encode(picture, WHOLE[name][0]) == coded[0]


def test_h265_has_no_notes_of_its_encoder() -> None:
    assert len(encoder("h265").encode(np.full((64, 64, 3), 114, np.uint8), 28)) < 200


def test_a_picture_of_another_size_is_refused() -> None:
    data = encoder("jpeg").encode(smooth(0, (64, 64)), 50)
    with pytest.raises(UsageError, match=r"\(64, 65\)"):
        encoder("jpeg").decode(data, (64, 65))
    with pytest.raises(UsageError, match="jpeg, webp, avif or h265"):
        encoder("gif")


@pytest.mark.parametrize(
    ("coding", "name"), [(H264_LOW_DELAY, "h264_video"), (H265_LOW_DELAY, "h265_video")]
)
def test_video_gives_a_picture_for_a_picture(coding: Coding, name: str) -> None:
    still = smooth(2, (91, 135))
    frames = [np.roll(still, 2 * i, axis=1) for i in range(4)]
    sizes = []
    for crf in VIDEO[name]:
        sent = list(streamed(iter(frames), coding, crf, 2.0))
        assert len(sent) == len(frames)
        assert all(one.data and one.picture.shape == still.shape for one in sent)
        sizes.append(sum(len(one.data) for one in sent))
        own, next_ = (psnr_db(sent[1].picture, frame) for frame in frames[1:3])
        assert own > next_ + 3
    assert sizes == sorted(sizes)
    assert max(len(one.data) for one in sent[1:]) < len(sent[0].data)
    assert list(streamed(iter([]), coding, 28, 2.0)) == []


def test_an_encoder_that_is_not_there_is_named() -> None:
    coding = Coding("libnone", "h264", ())
    with pytest.raises(UsageError, match="libnone"):
        list(streamed([smooth(0, (64, 64))], coding, 28, 2.0))
