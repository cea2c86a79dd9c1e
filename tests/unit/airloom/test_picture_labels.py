"""Masks and boxes lie in the frame where their picture does."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airloom.errors import DataError
from airloom.inputs.declared import InputProcessing
from airloom.picture_labels import AROUND, framed
from airloom.pictures import Picture


def png(values, mode=None, **options):
    file = BytesIO()
    Image.fromarray(np.asarray(values, np.uint8), mode).save(file, "PNG", **options)
    return file.getvalue()


def turned(values):
    """A picture that Exif turns by a quarter: as one looks at it, it stands on its end."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(values, exif=exif)


sides = st.integers(1, 40)


@settings(deadline=None, max_examples=150)
@given(sides, sides, sides, sides, st.sampled_from(["crop", "pad", "stretch"]))
def test_a_mask_lies_where_pillow_puts_the_picture(width, height, wide, high, fit):
    """A picture of two halves: what the frame has of each half is what its mask says."""
    values = np.full((height, width), 200, np.uint8)
    values[:, : width // 2] = 100
    values[: height // 2] += 50
    frame = Picture(height=high, width=wide, mode="L", fit=fit, label="mask")
    (mask,) = framed(frame, [png(values)], [png(values)])
    assert mask.shape == (high, wide)
    if fit == "pad" and 0 in (round(width / height * high), round(height / width * wide)):
        return
    image = Image.fromarray(values)
    from PIL import ImageOps

    near = Image.Resampling.NEAREST
    expected = {
        "crop": lambda: ImageOps.fit(image, (wide, high), near),
        "pad": lambda: ImageOps.pad(image, (wide, high), near, color=AROUND),
        "stretch": lambda: image.resize((wide, high), near),
    }[fit]()
    off = np.asarray(expected) != mask
    assert off.mean() <= 0.5 if off.size < 12 else off.sum() <= 2 * (wide + high)  # a tie of halves may fall either way
    if fit == "pad":
        assert ((mask == AROUND) == (np.asarray(expected) == AROUND)).all()


def test_files_lists_and_arrays_are_the_same_mask():
    values = np.arange(12).reshape(3, 4)
    picture, frame = png(values * 20), Picture(height=3, width=4, mode="L", label="mask")
    palette = BytesIO()
    coloured = Image.fromarray(values.astype(np.uint8), "L")
    coloured.putpalette([number for colour in range(256) for number in (colour, 0, 255 - colour)])
    coloured.save(palette, "PNG")
    labels = [png(values), palette.getvalue(), values.tolist(), values.astype(np.int64), memoryview(png(values))]
    masks = framed(frame, [picture] * 5, labels)
    assert masks.dtype == np.int64
    assert (masks == values).all()
    assert framed(frame, [], []).shape == (0, 3, 4)


def test_a_mask_is_that_of_the_picture_as_one_looks_at_it():
    values = np.arange(12).reshape(3, 4)
    frame = Picture(height=4, width=3, mode="L", label="mask")
    upright = np.rot90(values, -1)
    (mask,) = framed(frame, [turned(values)], [png(upright)])
    assert (mask == upright).all()
    with pytest.raises(DataError, match="the mask of row 7 has 4 x 3 pixels, and its picture 3 x 4"):
        framed(frame, [turned(values)], [png(values)], first=7)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (png(np.zeros((2, 4))), "the mask of row 3 has 4 x 2 pixels, and its picture 4 x 3"),
        (np.zeros((4, 3), int).tolist(), "the mask of row 3 has 3 x 4 pixels, and its picture 4 x 3"),
        (png(np.zeros((3, 4, 3))), "the mask of row 3 is PNG with pixels of mode RGB"),
        (b"nothing", "the mask of row 3 is no whole picture"),
        ([[0, 1, 2, 3], [0, 1]], "the mask of row 3 is ragged"),
        ([[0.5] * 4] * 3, "the mask of row 3 is no rows of whole numbers"),
        (7, "the mask of row 3 is no rows of whole numbers"),
        (None, "the mask of row 3 is no rows of whole numbers"),
    ],
)
def test_what_is_no_mask_of_a_picture_is_refused_by_row_and_value(label, says):
    with pytest.raises(DataError) as refused:
        framed(Picture(height=3, width=4, label="mask"), [png(np.zeros((3, 4)))], [label], first=3)
    assert says in refused.value.message


def boxes_in(fit, label):
    frame = Picture(height=10, width=10, mode="L", fit=fit, label="boxes")
    return framed(frame, [png(np.zeros((20, 40)))], [label])[0].tolist()


def test_boxes_follow_the_frame():
    box = [10, 0, 30, 20, 7]
    assert boxes_in("stretch", [box]) == [[2.5, 0, 7.5, 10, 7]]
    assert boxes_in("crop", [box]) == [[0, 0, 10, 10, 7]]
    assert boxes_in("pad", [box]) == [[2.5, 2, 7.5, 7, 7]]  # 10 x 5 pixels, below two rows of black
    assert boxes_in("crop", [[0, 0, 15, 10], [0, 0, 5, 5]]) == [[0, 0, 2.5, 5]]  # cut, and cut off
    assert boxes_in("crop", []) == boxes_in("crop", None) == []


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ([[1, 2, 3]], "the label of row 0 is no list of boxes"),
        ([[1, 2, 3, 4], [1, 2, 3]], "the label of row 0 is no list of boxes"),
        ([3], "the label of row 0 is no list of boxes"),
        ([[1, 2, float("nan"), 4]], "the label of row 0 is no list of boxes"),
        ([[1, 2, 3, 4], [5, 2, 5, 4]], "box 1 of row 0 is [5.0, 2.0, 5.0, 4.0]"),
    ],
)
def test_what_is_no_box_is_refused(label, says):
    with pytest.raises(DataError) as refused:
        boxes_in("crop", label)
    assert says in refused.value.message


def test_other_labels_stay_as_they_are():
    labels = ["cat"]
    assert framed(Picture(height=3, width=4), [b""], labels) is labels
    assert framed(Picture(height=3, width=4, label="mask"), [b""], None) is None
    with pytest.raises(ValueError, match=r"said to run\.pictures"):
        InputProcessing(picture=Picture(height=3, width=4, label="mask"))
