"""What the values of masks mean is guessed alike for everybody, and stated by keys that read them so."""

from typing import Any

import pytest

from unetkit.data.mask_encoding import VOID_COLOUR, MaskEncoding, pack, rgb


@pytest.mark.parametrize(
    ("found", "keys"),
    [
        ([0, 1], {}),
        ([0, 65535], {}),
        ([0, 200], {"mask_values": [0, 200]}),
        ([1, 255], {"mask_values": [1, 255]}),
        ([0, 1, 2], {"num_classes": 3}),
        ([0, 1, 255], {"ignore_index": 255}),
        ([0, 1, 2, 255], {"num_classes": 3, "ignore_index": 255}),
        ([0, 3, 255], {"mask_values": [0, 3], "ignore_index": 255}),
        ([0, 127, 255], {"mask_values": [0, 127, 255]}),
    ],
)
def test_values_are_guessed_to_be_classes_and_void(found: list[int], keys: dict[str, Any]) -> None:
    guess = MaskEncoding.guess(found)
    assert guess.stated_by == keys
    assert MaskEncoding.of_keys(**keys) == guess


def test_a_known_void_value_is_no_class() -> None:
    assert MaskEncoding.guess([0, 1, 2, 9], void=9).stated_by == {"num_classes": 3, "ignore_index": 9}


def test_of_colours_the_background_comes_first_and_that_of_pascal_voc_is_void() -> None:
    red, blue = pack(200, 0, 0), pack(0, 0, 200)
    guess = MaskEncoding.guess([red, blue, VOID_COLOUR], is_colour=True, background=red)
    assert guess.stated_by == {"mask_colours": [[200, 0, 0], [0, 0, 200]], "ignore_index": [224, 224, 192]}
    assert guess.typed == "data.mask_colours=[[200,0,0],[0,0,200]] data.ignore_index=[224,224,192]"
    assert MaskEncoding.of_keys(**guess.stated_by) == guess


def test_colours_are_packed_and_unpacked() -> None:
    assert pack(1, 2, 3) == 0x010203
    assert rgb(0x010203) == [1, 2, 3]
