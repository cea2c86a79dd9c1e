"""Pictures as a model takes them: what viewers show, whatever format, mode, orientation and size the file has."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airloom.errors import DataError
from airloom.pictures import Picture, kind_of, look

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """The left half red, the right one blue."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, *size))
    return image


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    mode=st.sampled_from(["L", "RGB", "RGBA"]),
    fit=st.sampled_from(["crop", "pad", "stretch"]),
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
    source=st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"]),
)
@settings(max_examples=150, deadline=None)
def test_any_picture_becomes_the_shape_that_was_asked_for(size, height, width, mode, fit, kind, source):
    if (kind == "JPEG" and source in ("RGBA", "LA", "P")) or (kind == "PNG" and source == "CMYK"):
        source = "L"
    data = encoded(Image.new(source, size), kind)
    made = Picture(height=height, width=width, mode=mode, fit=fit).frame(data)
    assert made.shape == ({"L": 1, "RGB": 3, "RGBA": 4}[mode], height, width)
    assert made.dtype == np.uint8
    seen = look(data, "it")
    assert (seen.width, seen.height) == size
    assert 0 <= seen.brightness <= 1


def test_the_pixels_of_a_picture_of_the_right_size_and_mode_stay():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for fit in ("crop", "pad", "stretch"):
        made = Picture(height=5, width=7, fit=fit).frame(encoded(Image.fromarray(pixels)))
        np.testing.assert_array_equal(made, pixels.transpose(2, 0, 1))


def test_what_sticks_out_is_cut_off_or_black_is_put_around():
    crop, pad, stretch = (Picture(height=10, width=10, fit=fit).frame(encoded(halves())) for fit in _FITS)
    assert crop[0, 5, 0] == 255 and crop[2, 5, 9] == 255  # the middle of 40 x 20: a side of each colour
    assert pad[:, 0].max() == 0 and pad[:, 9].max() == 0
    assert pad[0, 5, 1] == 255
    assert stretch[0, 0, 0] == 255 and stretch[2, 9, 9] == 255


_FITS = ("crop", "pad", "stretch")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_as_viewers_turn_it(kind):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # lies on its right side
    data = encoded(halves(), kind, exif=exif)
    assert look(data, "it")[:2] == (20, 40)
    assert kind_of(BytesIO(data), "it")[:2] == (20, 40)
    made = Picture(height=40, width=20).frame(data).astype(int)
    assert made[0, 5, 10] > 200 > 50 > made[2, 5, 10]  # red is above now
    assert made[2, 35, 10] > 200 > 50 > made[0, 35, 10]


def test_what_is_transparent_is_laid_on_white():
    clear = encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))
    assert Picture(height=4, width=4).frame(clear).min() == 255
    assert Picture(height=4, width=4, mode="L").frame(clear).min() == 255
    assert Picture(height=4, width=4, mode="RGBA").frame(clear)[3].max() == 0
    palette = Image.new("P", (4, 4), 0)
    assert Picture(height=4, width=4).frame(encoded(palette, transparency=0)).min() == 255


def test_a_large_jpeg_looks_the_same_decoded_small():
    """It is decoded at a smaller scale: within what two ways to shrink a picture differ by."""
    y, x = np.mgrid[0:600, 0:900]
    pixels = np.stack([x * 255 // 900, y * 255 // 600, (x + y) * 255 // 1500], axis=2).astype(np.uint8)
    small = Picture(height=32, width=32)
    whole, quick = encoded(Image.fromarray(pixels)), encoded(Image.fromarray(pixels), "JPEG", quality=95)
    assert np.abs(small.frame(whole).astype(int) - small.frame(quick)).max() <= 8


def damaged() -> dict[str, tuple[bytes, str]]:
    jpeg, png = encoded(halves((200, 100)), "JPEG"), encoded(halves())
    moving = encoded(halves(), "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 20))], duration=10)
    return {
        "truncated": (jpeg[: len(jpeg) // 2], "no whole picture: image file is truncated"),
        "empty": (b"", "of another kind"),
        "text": (b"no picture at all", "of another kind"),
        "gif": (encoded(halves(), "GIF"), "of another kind"),
        "flipped": (png[:45] + bytes([png[45] ^ 255]) + png[46:], "no whole picture"),
        "deep": (encoded(Image.new("I;16", (5, 5))), "more than 8 bits"),
        "moving": (moving, "an animation"),
    }


@pytest.mark.parametrize("name", damaged())
def test_what_is_no_whole_picture_is_refused_by_name(name):
    data, says = damaged()[name]
    for ask in (lambda: look(data, "cat.jpg"), lambda: Picture(height=8, width=8).frame(data, "cat.jpg")):
        with pytest.raises(DataError, match=rf"cat\.jpg .*{says}") as caught:
            ask()
        assert caught.value.hint


def test_too_many_pixels_are_refused_before_they_are_decoded():
    data = encoded(Image.new("L", (100, 100)))
    with pytest.raises(DataError, match="row 3 is too large: 100 x 100 pixels"):
        Picture(height=4, width=4).frames([data], first=3, most_pixels=9_999)
    photo = encoded(Image.new("L", (100, 100)), "JPEG")  # of which an eighth is decoded
    assert Picture(height=4, width=4).frames([photo], most_pixels=9_999).shape == (1, 3, 4, 4)


def test_floats_are_the_same_pixels_divided():
    picture, cells = Picture(height=7, width=5), [encoded(halves()), encoded(halves((9, 30)), "JPEG")]
    into = np.full((2, *picture.shape), np.nan, np.float32)
    picture.floats(cells, into)
    np.testing.assert_array_equal(into, picture.frames(cells) / np.float32(255))
    with pytest.raises(DataError, match="the picture of row 1"):
        picture.floats([cells[0], b"none"], into)
