"""Memory is used again only when nobody can see it."""

import pickle

import numpy as np
import pytest

from airloom.datasets.reading.buffers import Buffers


def take(buffers, rows=4):
    return buffers.take("c", (rows, 3), np.dtype(np.uint8))


def address(array):
    return array.__array_interface__["data"][0]


def holders():
    import torch

    return {
        "the array": lambda array: array,
        "a slice": lambda array: array[1:2],
        "a view of a view": lambda array: array.reshape(-1)[3:].view(np.int8)[::2],
        "a tensor": torch.from_numpy,
        "a view of a tensor": lambda array: torch.from_numpy(array).view(-1)[2:],
        "storage": lambda array: torch.from_numpy(array).untyped_storage(),
        "a memoryview": lambda array: memoryview(array)[1:],
        "dlpack": lambda array: np.from_dlpack(torch.from_numpy(array)),
    }


@pytest.mark.parametrize("how", holders())
def test_what_is_held_is_not_handed_out_again_and_what_is_let_go_is(how):
    buffers = Buffers(keep=2)
    array = take(buffers)
    first = address(array)
    held = holders()[how](array)
    del array
    assert all(address(take(buffers)) != first for _ in range(6))
    buffers = Buffers(keep=2)
    array = take(buffers)
    first = address(array)
    held = holders()[how](array)
    del array, held
    assert address(take(buffers)) == first


def test_another_shape_or_type_gets_memory_of_its_own():
    buffers = Buffers(keep=3)
    take(buffers)
    assert take(buffers, 2).shape == (2, 3)
    assert buffers.take("c", (4, 3), np.dtype(np.int64)).dtype == np.int64


def test_reuse_never_knows_more_arrays_than_it_keeps():
    buffers = Buffers(keep=3, reuse=True)
    held = [take(buffers) for _ in range(20)]
    assert len({address(array) for array in held}) == 3


def test_without_keeping_all_memory_is_fresh():
    buffers = Buffers()
    held = [take(buffers) for _ in range(5)]
    assert len({address(array) for array in held}) == 5


def test_it_goes_through_pickle():
    assert take(pickle.loads(pickle.dumps(Buffers(2)))).shape == (4, 3)  # noqa: S301  # our own bytes


@pytest.mark.parametrize("shape", [(0, 3), (1,), (5, 3), (1000, 7)])
def test_memory_begins_where_torch_makes_no_copy(shape):
    buffers = Buffers(keep=3)
    arrays = [buffers.take("c", shape, np.dtype(kind)) for kind in (np.uint8, np.float32, np.int64)]
    assert [address(array) % 64 for array in arrays if array.size] == [0] * 3 * bool(arrays[0].size)
    assert all(array.shape == shape and array.flags.writeable and array.flags.c_contiguous for array in arrays)
