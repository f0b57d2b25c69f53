"""RHD, FreiHAND, HO-3D and DexYCB: tiny files written here in the formats those sets are published
in.  The formats are their authors' (read_me of RHD, freihand and ho3d repositories,
dex-ycb-toolkit); every number that a reader must give is known before the file is written.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.readers import open_dataset
from hand_depth_ros.evaluation.readers.safe_pickle import load_plain_pickle

NAMES = ["wrist"] + [f"{f}{i}" for f in ("thumb", "index", "middle", "ring", "little") for i in (1, 2, 3, 4)]
RNG = np.random.default_rng(3)


def a_hand(z_m: float = 0.5) -> dict[str, np.ndarray]:
    """Joints by name, metres, in view of a camera with f = 100 px; number 4 is the tip."""
    return {name: np.array([*RNG.uniform(-0.08, 0.08, 2), z_m + RNG.uniform(-0.03, 0.03)]) for name in NAMES}


def ours(hand: dict[str, np.ndarray]) -> np.ndarray:
    return np.array([hand[name] for name in NAMES])


def matrix(width: int, height: int, f: float = 100.0) -> np.ndarray:
    return np.array([[f, 0, width / 2], [0, f + 1, height / 2], [0, 0, 1]])


def write_image(file: Path, array: np.ndarray) -> None:
    """Write an array whose channels are RGB."""
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), array[..., ::-1] if array.ndim == 3 else array)


def the_only(path: Path, **options: Any):
    samples = list(open_dataset(path, **options))
    assert len(samples) == 1
    return samples[0]


@pytest.fixture
def rhd(tmp_path: Path) -> tuple[Path, dict, dict]:
    """RHD_published_v2 with evaluation/00007: a left hand of one class each for palm and fingers, a
    right hand too small.
    """
    left, right = a_hand(0.5), a_hand(0.9)
    root = tmp_path / "RHD_published_v2"
    fingers = [
        f"{f}{i}" for f in ("thumb", "index", "middle", "ring", "little") for i in (4, 3, 2, 1)
    ]  # tip first
    xyz = np.array([hand[name] for hand in (left, right) for name in ["wrist", *fingers]])
    assert xyz.shape == (42, 3)
    mask = np.zeros((320, 320), np.uint8)
    mask[:, :200] = 1  # a person
    mask[100:120, 50:60], mask[120:140, 50:60] = 2, 17  # left thumb's tip, left palm
    mask[0:3, 300:303] = 33  # right palm
    depth = np.zeros((320, 320, 3), np.uint8)
    depth[..., 0], depth[..., 1] = 255, 255  # 5 m
    value = round(0.5125 / 5 * 65535)
    depth[100:140, 50:60] = (value // 256, value % 256, 0)
    part = root / "evaluation"
    write_image(part / "color" / "00007.png", np.full((320, 320, 3), (200, 10, 10), np.uint8))
    write_image(part / "mask" / "00007.png", mask)
    write_image(part / "depth" / "00007.png", depth)
    about = {"xyz": xyz, "uv_vis": np.zeros((42, 3)), "K": matrix(320, 320)}
    (part / "anno_evaluation.pickle").write_bytes(pickle.dumps({7: about}, protocol=2))
    return root, left, right


def test_reads_rhd(rhd: tuple[Path, dict, dict]) -> None:
    root, left, _ = rhd
    sample = the_only(root)
    assert sample.rgb[0, 0].tolist() == [200, 10, 10] and sample.camera.fy == 101
    (hand,) = sample.hands  # nine pixels are no hand to measure
    assert hand.box == (50, 100, 10, 40) and hand.mask.sum() == 400
    np.testing.assert_allclose(hand.depth_m[hand.mask], 0.5125, atol=5 / 65535)
    assert np.isnan(hand.depth_m[~hand.mask]).all()
    np.testing.assert_allclose(hand.joints, ours(left))


def test_reads_right_hands_of_rhd_and_names_a_missing_part(rhd: tuple[Path, dict, dict]) -> None:
    root, _, right = rhd
    mask = np.full((320, 320), 1, np.uint8)
    mask[200:230, 200:230], mask[230:240, 200:230] = 18, 33  # right thumb's tip, right palm
    write_image(root / "evaluation" / "mask" / "00007.png", mask)
    (hand,) = the_only(root).hands
    assert hand.mask.sum() == 1200
    np.testing.assert_allclose(hand.joints, ours(right))
    with pytest.raises(DatasetError, match=r"anno_training\.pickle cannot be read"):
        open_dataset(root, split="train")
    with pytest.raises(DatasetError, match="no split 'test'"):
        open_dataset(root, split="test")


def test_reads_freihand(tmp_path: Path) -> None:
    """training/ has every image again under number + 32560, with the mask of the first one."""
    hands = [a_hand(), a_hand()]
    matrices = [matrix(224, 224), matrix(224, 224, 90.0)]
    for part in ("training", "evaluation"):
        (tmp_path / f"{part}_K.json").write_text(json.dumps([k.tolist() for k in matrices]))
    (tmp_path / "training_xyz.json").write_text(json.dumps([ours(hand).tolist() for hand in hands]))
    for number in (0, 1, 32561):
        write_image(tmp_path / "training" / "rgb" / f"{number:08d}.jpg", np.zeros((224, 224, 3), np.uint8))
    write_image(tmp_path / "evaluation" / "rgb" / "00000000.jpg", np.zeros((224, 224, 3), np.uint8))
    mask = np.zeros((224, 224), np.uint8)
    mask[40:104, 64:96] = 255
    write_image(tmp_path / "training" / "mask" / "00000001.jpg", mask)
    first, second, again = open_dataset(tmp_path, split="train")
    np.testing.assert_allclose(first.hands[0].joints, ours(hands[0]))
    assert first.hands[0].mask is None and second.camera.fx == 90
    for sample in (second, again):
        assert (sample.hands[0].mask == (mask > 0)).mean() > 0.999 and sample.hands[0].box[
            0
        ] == pytest.approx(64, abs=2)
        np.testing.assert_allclose(sample.hands[0].joints, ours(hands[1]))
    with pytest.raises(DatasetError, match=r"evaluation_xyz\.json"):
        open_dataset(tmp_path)


def mano_order(hand: dict[str, np.ndarray]) -> np.ndarray:
    inner = [f"{f}{i}" for f in ("index", "middle", "little", "ring", "thumb") for i in (1, 2, 3)]
    tips = [f"{f}4" for f in ("thumb", "index", "middle", "ring", "little")]
    return np.array([hand[name] for name in ["wrist", *inner, *tips]])


@pytest.fixture
def ho3d(tmp_path: Path) -> tuple[Path, dict]:
    """HO-3D v3 with one training and one evaluation image; a quarter-size segmentation in its
    folder of its own.
    """
    root, hand = tmp_path / "HO3D_v3", a_hand(0.5)
    (root / "train").mkdir(parents=True)
    (root / "train.txt").write_text("ABF10/0003\n")
    (root / "evaluation.txt").write_text("SM1/0000\n")
    value = round(0.5125 / 0.00012498664727900177)
    depth = np.zeros((480, 640, 3), np.uint8)
    depth[:] = (value % 256, value // 256, 0)  # red low, green high
    far = round(2.0 / 0.00012498664727900177)
    depth[100:104] = (far % 256, far // 256, 0)
    for part in ("train/ABF10", "evaluation/SM1"):
        number = "0003" if "train" in part else "0000"
        write_image(root / part / "rgb" / f"{number}.jpg", np.full((480, 640, 3), 90, np.uint8))
        write_image(root / part / "depth" / f"{number}.png", depth)
        (root / part / "meta").mkdir()
    seg = np.zeros((120, 160, 3), np.uint8)
    seg[25:50, 40:60] = (255, 0, 0)  # the hand
    seg[50:70, 40:60] = (0, 0, 255)  # what it holds
    write_image(root / "HO3D_v2_segmentations_rendered" / "train" / "ABF10" / "seg" / "0003.png", seg)
    about = {
        "camMat": matrix(640, 480, 600.0),
        "handJoints3D": mano_order(hand) * (1, -1, -1),
        "objName": "003_cracker_box",
    }
    (root / "train/ABF10/meta/0003.pkl").write_bytes(pickle.dumps(about, protocol=2))
    about = {
        "camMat": matrix(640, 480, 600.0),
        "handJoints3D": np.zeros(3),
        "handBoundingBox": [10, 20, 110, 220],
    }
    (root / "evaluation/SM1/meta/0000.pkl").write_bytes(pickle.dumps(about, protocol=2))
    return root, hand


def test_reads_ho3d(ho3d: tuple[Path, dict]) -> None:
    root, hand = ho3d
    sample = the_only(root, split="train")
    (true,) = sample.hands
    np.testing.assert_allclose(true.joints, ours(hand), atol=1e-12)
    assert true.box == (160, 100, 80, 100) and true.mask.sum() == 8000
    measured = np.isfinite(true.depth_m)
    assert not measured[100:104].any() and measured[104:200, 160:240].all()  # 2 m is behind the hand
    np.testing.assert_allclose(true.depth_m[measured], 0.5125, atol=1e-4)


def test_reads_ho3d_without_segmentation_and_its_evaluation_part(ho3d: tuple[Path, dict]) -> None:
    root, _ = ho3d
    data = open_dataset(root)
    (true,) = next(iter(data)).hands
    assert (
        true.box == (10, 20, 100, 200)
        and true.joints is None
        and any("withheld" in note for note in data.notes)
    )
    (root / "HO3D_v2_segmentations_rendered").rename(root / "elsewhere")
    (true,) = the_only(root, split="train").hands
    assert true.mask is None and true.depth_m is None and true.joints.shape == (21, 3)


@pytest.fixture
def dexycb(tmp_path: Path) -> tuple[Path, dict]:
    """One subject with five sequences of one camera; the fifth has two frames, the second without a
    hand.
    """
    hand, serial = a_hand(0.7), "836212060125"
    intrinsics = tmp_path / "calibration" / "intrinsics" / f"{serial}_640x480.yml"
    intrinsics.parent.mkdir(parents=True)
    color = {"fx": 614.6, "fy": 614.9, "ppx": 312.1, "ppy": 240.3}
    intrinsics.write_text(yaml.dump({"color": color, "depth": dict.fromkeys(color, 1.0)}))
    for i in range(5):
        for frame in range(2):
            folder = tmp_path / "20200709-subject-01" / f"20200709_14175{i}" / serial
            write_image(folder / f"color_{frame:06d}.jpg", np.full((480, 640, 3), 40 * i, np.uint8))
            depth = np.full((480, 640), 702, np.uint16)
            depth[200:204] = 0
            assert cv2.imwrite(str(folder / f"aligned_depth_to_color_{frame:06d}.png"), depth)
            seg = np.zeros((480, 640), np.uint8)
            seg[100:180, 100:180] = 5
            seg[190:250, 300:340] = 255 if frame == 0 else 0
            joints = (
                ours(hand)[None].astype(np.float32) if frame == 0 else np.full((1, 21, 3), -1, np.float32)
            )
            np.savez(folder / f"labels_{frame:06d}.npz", seg=seg, joint_3d=joints, joint_2d=joints[..., :2])
    return tmp_path, hand


def test_reads_dexycb(dexycb: tuple[Path, dict]) -> None:
    root, hand = dexycb
    with_hand, without = open_dataset(root)
    (true,) = with_hand.hands
    assert without.hands == () and with_hand.rgb[0, 0, 0] == 160  # the fifth sequence
    assert (with_hand.camera.fx, with_hand.camera.cy) == (614.6, 240.3)
    np.testing.assert_allclose(true.joints, ours(hand), atol=1e-6)
    assert true.box == (300, 190, 40, 60) and np.isnan(true.depth_m[200:204]).all()
    np.testing.assert_allclose(true.depth_m[204:250, 300:340], 0.702, atol=1e-6)
    assert len(open_dataset(root, split="train")) == 8 and len(open_dataset(root, split=None)) == 10
    with pytest.raises(DatasetError, match=r"nothing of split 'test' unpacked: .* --split all"):
        open_dataset(root, split="test")


def test_never_unpickles_dexycb_labels(dexycb: tuple[Path, dict], tmp_path: Path) -> None:
    root, _ = dexycb
    for labels in root.rglob("labels_*.npz"):
        np.savez(labels, seg=np.array([Trap(tmp_path / "sprung")], object), joint_3d=np.zeros((1, 21, 3)))
    with pytest.raises(DatasetError, match=r"labels_000000.npz cannot be used"):
        next(iter(open_dataset(root)))
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_rejects_pickles_that_ask_for_more_than_data_without_running_them(
    tmp_path: Path, protocol: int
) -> None:
    file, sprung = tmp_path / "anno.pickle", tmp_path / "sprung"
    for content in ({1: Trap(sprung)}, np.array([Trap(sprung)], object)):
        file.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(DatasetError, match=r"posix\.mkdir|nt\.mkdir"):
            load_plain_pickle(file)
        assert not sprung.exists()
        pickle.loads(file.read_bytes())  # the trap works
        sprung.rmdir()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_pickles_of_plain_data_and_arrays(tmp_path: Path, protocol: int) -> None:
    content = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": [1, "x", b"\xff", None],
        "c": np.float32(2),
        "d": np.zeros(0, bool),
    }
    file = tmp_path / "plain.pickle"
    file.write_bytes(pickle.dumps(content, protocol))
    got = load_plain_pickle(file)
    np.testing.assert_array_equal(got["a"], content["a"])
    assert got["b"] == content["b"] and got["c"] == 2 and got["d"].dtype == bool


def test_reads_arrays_pickled_by_python_2(tmp_path: Path) -> None:
    """As HO-3D's are: numpy 1's module name and the bytes as a Python 2 string (opcode T)."""
    values = struct.pack("<3d", 1.5, -2.0, 255.25)
    kind = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I3\nt"
        + kind
        + b"I00\nT"
        + struct.pack("<i", len(values))
        + values
        + b"tb"
    )
    file = tmp_path / "0000.pkl"
    file.write_bytes(b"\x80\x02" + array + b".")
    np.testing.assert_array_equal(load_plain_pickle(file), [1.5, -2.0, 255.25])
    for broken in (file.read_bytes()[:-30], b"no pickle", b""):
        file.write_bytes(broken)
        with pytest.raises(DatasetError, match=r"0000\.pkl"):
            load_plain_pickle(file)
