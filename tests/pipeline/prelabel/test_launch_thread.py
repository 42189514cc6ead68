"""In a process with a GPU, unpacking and packing go on while another thread is at the network."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from maskmill.pipeline.models.segmenter import PictureLogits
from maskmill.pipeline.prelabel.parcels import Item, Parcel, pack, unpack
from maskmill.pipeline.prelabel.predict import PredictMasks
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.views.geometry import AxisMap
from maskmill.pipeline.views.preparation import NetworkPicture

AXIS = AxisMap(1.0, 0.0, 0.0, 7.0)
LONGEST = 60.0
"""Seconds after which a thread is taken to wait for ever."""

unpacked = [threading.Event(), threading.Event()]
second_is_at_network = threading.Event()


class Key(str):
    """The key of a picture, which notes when it is read; the first's answer is not packed before
    the second is at the network.
    """

    def __reduce__(self) -> Any:
        if self == "0" and unpacked[0].is_set():
            assert second_is_at_network.wait(LONGEST)
        return read_key, (str(self),)


def read_key(text: str) -> Key:
    unpacked[int(text)].set()
    return Key(text)


class Meeting:
    """A network on a GPU that answers the first picture once the second is unpacked."""

    device, group_size, flip, features = torch.device("cuda"), 8, False, False

    def __init__(self) -> None:
        self.at_work = self.most = self.calls = 0

    def load(self, _: RunLayout) -> "Meeting":
        return self

    def forward(self, pictures: list[NetworkPicture]) -> list[PictureLogits]:
        self.at_work, self.calls = self.at_work + 1, self.calls + 1
        self.most = max(self.most, self.at_work)
        if self.calls == 1:
            assert unpacked[1].wait(LONGEST)
        else:
            second_is_at_network.set()
        self.at_work -= 1
        grid = np.zeros((2, 8, 8), np.float32)
        return [PictureLogits(grid, AXIS, AXIS, halved=False) for _ in pictures]


@pytest.fixture
def blocks():
    picture = NetworkPicture(np.zeros((8, 8, 3), np.uint8), (8, 8), AXIS, AXIS)
    for event in (*unpacked, second_is_at_network):
        event.clear()
    return [pack([Parcel(number, (item_of(number, picture),))]) for number in (0, 1)]


def item_of(number: int, picture: NetworkPicture) -> Item:
    return Item(image_id=number, key=Key(str(number)), uri="", output="", pictures=(picture,))


def test_one_thread_launches_while_others_unpack_and_pack(blocks, tmp_path):
    network = Meeting()
    predict = PredictMasks(layout=RunLayout(str(tmp_path)), session="s", settings=network)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(predict, blocks[0])
        assert unpacked[0].wait(LONGEST)
        second = threads.submit(predict, blocks[1])
        done = [next(unpack(one.result(LONGEST))) for one in (first, second)]
    assert network.most == 1
    assert [parcel.block for parcel in done] == [0, 1]
    assert [len(item.views) for parcel in done for item in parcel.items] == [1, 1]
