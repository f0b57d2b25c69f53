"""hand-depth evaluate: tiny data sets, a fake estimator, numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from rich.console import Console
from support.paths import ROOT

from hand_depth_ros.errors import DatasetError
from hand_depth_ros.evaluation.cli import evaluate, evaluate_dataset
from hand_depth_ros.evaluation.readers import open_dataset

NAN = np.float32(np.nan)
Answer = Callable[[np.ndarray, Any], list[tuple[np.ndarray, float]]]


class KnownAnswer:
    """A fake estimator: a function of the image and the given length says which masks have which
    depth.
    """

    def __init__(self, answer: Answer, sigma_m: float = 0.015, length_m: float = 0.19) -> None:
        self.answer, self.sigma_m, self.length_m = answer, sigma_m, length_m
        self.calls: list[dict] = []

    def estimate(self, rgb, camera, rois=None, hand_length_m=None, *, track=True) -> SimpleNamespace:
        self.calls.append({"rois": rois, "hand_length_m": hand_length_m, "track": track, "rgb": rgb})
        depth, mask = np.full(rgb.shape[:2], NAN), np.zeros(rgb.shape[:2], np.uint8)
        hands = []
        for number, (pixels, value) in enumerate(self.answer(rgb, hand_length_m), 1):
            depth[pixels], mask[pixels] = np.broadcast_to(value, depth.shape)[pixels], number
            hands.append(SimpleNamespace(id=number, hand_length_m=hand_length_m or self.length_m))
        sigma = np.where(np.isfinite(depth), np.float32(self.sigma_m), NAN)
        return SimpleNamespace(depth=depth, sigma=sigma, mask=mask, hands=tuple(hands))


def run(path: Path, estimator: KnownAnswer, **options: Any) -> dict[str, Any]:
    kept = {key: options.pop(key) for key in ("json", "out", "given_boxes") if key in options}
    quiet = Console(quiet=True)
    return evaluate_dataset(open_dataset(path, **options), estimator, console=quiet, **kept)


def rectangle(left: int, top: int, right: int, bottom: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


HAND = rectangle(10, 10, 30, 40)
SLOPE = np.broadcast_to(0.4 + 0.001 * np.arange(64), (48, 64))  # metres, 1 mm a column


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two frames of 64x48 in units of 0.1 mm: one with a sloping hand and more foreground, one
    empty.
    """
    path = tmp_path / "tiny_frames"
    for name in ("rgb", "depth", "mask"):
        (path / name).mkdir(parents=True)
    (path / "dataset.json").write_text(json.dumps({"format": 1, "depth_unit_m": 0.0001, "kind": "frames"}))
    lines = []
    for name, mask in (("a", HAND), ("b", np.zeros_like(HAND))):
        cv2.imwrite(
            str(path / "rgb" / f"{name}.png"), np.full((48, 64, 3), 200 if name == "a" else 50, np.uint8)
        )
        cv2.imwrite(str(path / "depth" / f"{name}.png"), np.round(SLOPE * 1e4).astype(np.uint16))
        cv2.imwrite(str(path / "mask" / f"{name}.png"), mask.astype(np.uint8))
        hands = [{"instance": 1, "hand_length_m": 0.2, "side": "left", "roi": [10, 10, 20, 30]}] * int(
            mask.any()
        )
        camera = {"width": 64, "height": 48, "fx": 60, "fy": 60, "cx": 32, "cy": 24}
        lines.append({"image": f"rgb/{name}.png", **camera, "hands": hands, "split": "val"})
    lines.append({**lines[0], "image": "rgb/missing.png", "split": "train"})
    (path / "cameras.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_measures_a_folder_set(folder: Path, tmp_path: Path) -> None:
    """Predicted: its left half and some beside it, 20 mm too far when guessed, 5 mm with the
    length.
    """
    shifted = rectangle(5, 10, 20, 40)

    def answer(rgb: np.ndarray, length: float | None) -> list:
        if rgb[0, 0, 0] == 50:
            return [(rectangle(0, 0, 4, 4), 0.5)]
        return [(shifted, SLOPE + (0.005 if length == 0.2 else 0.02))]

    estimator = KnownAnswer(answer)
    report = run(folder, estimator, json=tmp_path / "r" / "report.json", out=tmp_path / "sheets")
    assert report["images"] == 2 and report["hands"] == 1 and report["hands_found"] == 1
    assert report["hand_length_guessed"]["mae_mm"] == pytest.approx(20, abs=0.01)
    assert report["hand_length_guessed"]["rmse_mm"] == pytest.approx(20, abs=0.01)
    assert report["hand_length_guessed"]["shape_mm"] == pytest.approx(0, abs=0.01)
    assert report["hand_length_known"]["mae_mm"] == pytest.approx(5, abs=0.01)
    assert report["mask_iou"] == pytest.approx(10 / 25)
    assert report["completeness"] == pytest.approx(0.5)
    # columns 10..19, 1 mm apart: median 14.5, mean distance 2.5; all of 10..29: 5
    assert report["constant_depth_mm"] == pytest.approx(2.5, abs=0.01)
    assert report["constant_depth_everywhere_mm"] == pytest.approx(5, abs=0.01)
    assert (report["within_1_sigma"], report["within_2_sigma"]) == (0, 1)
    assert report["images_with_false_hand"] == 1 and report["other_hands_per_image"] == 0
    assert report["hand_length_error"] == pytest.approx(0.19 / 0.2 - 1)
    assert json.loads((tmp_path / "r" / "report.json").read_text()) == report
    assert cv2.imread(str(tmp_path / "sheets" / "tiny_frames_worst.jpg")) is not None
    assert all(call["track"] is False and call["rois"] is None for call in estimator.calls)
    assert [call["hand_length_m"] for call in estimator.calls] == [None, 0.2, None]


def test_documents_every_key_of_the_report(folder: Path, joints_set: Path) -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    hand = rectangle(50, 20, 206, 210, (256, 256))
    report = run(joints_set, KnownAnswer(lambda rgb, length: [(hand, 0.44)]))
    (_, group, *_) = report["poses"]["groups"]
    for key in [*report, *report["poses"], *group, *report["hand_length_known"]]:
        assert f"`{key}`" in text, key


def with_a_second_hand(folder: Path, seen: int) -> None:
    """The first frame gets a hand at its right edge of which ``seen`` of the 21 joints are in the
    picture, the others beyond it; of the first hand all are.
    """
    mask = HAND.astype(np.uint8) + 2 * rectangle(60, 10, 64, 40)
    cv2.imwrite(str(folder / "mask" / "a.png"), mask)
    lines = [json.loads(line) for line in (folder / "cameras.jsonl").read_text().splitlines()]
    first = lines[0]["hands"][0]

    def joints_m(columns: list[int]) -> list[list[float]]:
        return [[(x - 32) / 60 * 0.4, 0.0, 0.4] for x in columns]

    lines[0]["hands"] = [
        {**first, "joints_m": joints_m([20] * 21)},
        {**first, "instance": 2, "joints_m": joints_m([62] * seen + [80] * (21 - seen))},
    ]
    (folder / "cameras.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_reports_hands_that_are_at_least_half_visible_apart(folder: Path) -> None:
    """The first hand is measured exactly, the second is not found."""
    estimator = KnownAnswer(lambda rgb, length: [(HAND, SLOPE)] if rgb[0, 0, 0] == 200 else [])
    assert run(folder, estimator)["half_visible"] is None  # a set without joints cannot tell
    for seen, hands in ((10, 1), (11, 2)):
        with_a_second_hand(folder, seen)
        report = run(folder, estimator)
        assert report["hands"] == 2 and report["hands_found"] == 0.5
        assert report["half_visible"]["hands"] == hands and report["half_visible"]["hands_found"] == 1 / hands
        assert report["half_visible"]["mask_iou"] == 1 / hands
        assert report["half_visible"]["hand_length_known"]["mae_mm"] == pytest.approx(0, abs=0.01)
        assert report["half_visible"]["constant_depth_everywhere_mm"] == pytest.approx(
            3 + hands % 2 * 2, abs=0.01
        )
    out = Console(width=120, record=True, quiet=True)
    report = evaluate_dataset(open_dataset(folder), estimator, console=out)  # type: ignore[arg-type]
    assert report["half_visible"]["hands"] == 2


def test_does_not_score_the_depth_of_a_hand_beside_the_true_one(folder: Path) -> None:
    report = run(folder, KnownAnswer(lambda rgb, length: [(rectangle(25, 10, 45, 40), 0.4)]))
    # IoU 5 / 35 < 0.3
    assert report["hands_found"] == 0 and report["hand_length_guessed"] is None
    assert report["mask_iou"] == pytest.approx(5 / 35) and report["other_hands_per_image"] == 1


def test_gives_the_tight_boxes_of_the_masks(folder: Path) -> None:
    estimator = KnownAnswer(lambda rgb, length: [])
    report = run(folder, estimator, given_boxes=True)
    assert estimator.calls[0]["rois"] == [(10, 10, 20, 30)]
    assert any("detector not used" in note for note in report["notes"])


def test_lays_transparent_images_over_grey_or_photographs(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**about, "transparent": True}))
    image = np.zeros((48, 64, 4), np.uint8)
    image[HAND] = (10, 20, 30, 255)  # BGRA
    image[0, 0] = (100, 100, 100, 51)  # a fifth
    for name in "ab":
        cv2.imwrite(str(folder / "rgb" / f"{name}.png"), image)
    grey = next(iter(open_dataset(folder))).rgb
    assert grey[20, 20].tolist() == [30, 20, 10] and grey[47, 63].tolist() == [127, 127, 127]
    assert grey[0, 0].tolist() == [round(0.2 * 100 + 0.8 * 127)] * 3
    photos = tmp_path / "photos"
    photos.mkdir()
    with pytest.raises(DatasetError, match="no images in"):
        open_dataset(folder, backgrounds=photos)
    cv2.imwrite(str(photos / "p.png"), np.full((30, 90, 3), (0, 0, 240), np.uint8))
    photo = next(iter(open_dataset(folder, backgrounds=photos))).rgb
    assert photo[20, 20].tolist() == [30, 20, 10] and photo[47, 63].tolist() == [240, 0, 0]


def test_notes_that_backgrounds_are_not_used(folder: Path, joints_set: Path, tmp_path: Path) -> None:
    for path in (folder, joints_set):
        assert "not transparent: backgrounds are not used" in open_dataset(path, backgrounds=tmp_path).notes


def test_rejects_given_boxes_on_images_without_hands(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "room.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(typer.BadParameter, match="--rois"):
        evaluate(tmp_path, rois=True)


def flat_hand(z_mm: float = 400.0) -> np.ndarray:
    """21 joints (mm) of an open hand; PIP and DIP joints lie at z + 0, 10, 20 ... mm."""
    joints = np.zeros((21, 3))
    joints[:, 2] = z_mm
    for finger in range(5):
        for joint in range(4):
            joints[1 + 4 * finger + joint, :2] = (-60 + 30 * finger, 10 - 30 * joint)
    joints[0, :2] = (0, 60)
    for i, index in enumerate((2, 3, 6, 7, 10, 11, 14, 15, 18, 19)):
        joints[index, 2] = z_mm + 10 * i
    return joints


@pytest.fixture
def joints_set(tmp_path: Path) -> Path:
    folder = tmp_path / "joints"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((256, 256, 3), np.uint8))
    camera = {"width": 256, "height": 256, "fx": 480, "fy": 480, "cx": 128, "cy": 128}
    line = {"image": "joints/0.png", **camera, "joints_mm": flat_hand().tolist()}
    (tmp_path / "joints.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_measures_a_joints_set(joints_set: Path) -> None:
    """A constant depth scores the oracle's shape; the true hand length comes from the middle
    finger's bones.
    """
    hand = rectangle(50, 20, 206, 210, (256, 256))
    estimator = KnownAnswer(lambda rgb, length: [(hand, 0.44 if length else 0.45)])
    for path in (joints_set, joints_set.with_suffix(".jsonl")):
        report = run(path, estimator)
        assert report["hands_found"] == 1 and report["completeness"] == 1
        # true surface 394, 404 ... 484 mm, median 439: mean distance 25
        assert report["constant_depth_mm"] == pytest.approx(25)
        assert report["constant_depth_everywhere_mm"] == pytest.approx(25)
        assert report["hand_length_guessed"]["shape_mm"] == pytest.approx(25, abs=1e-3)
        expected = np.abs(450 - (394 + 10 * np.arange(10))).mean()
        assert report["hand_length_guessed"]["mae_mm"] == pytest.approx(expected, abs=1e-3)
        expected = np.abs(440 - (394 + 10 * np.arange(10))).mean()
        assert report["hand_length_known"]["mae_mm"] == pytest.approx(expected, abs=1e-3)
    joints = flat_hand() / 1000
    finger = sum(np.linalg.norm(joints[b] - joints[a]) for a, b in ((9, 10), (10, 11), (11, 12)))
    assert estimator.calls[1]["hand_length_m"] == pytest.approx(finger / 0.53)
    assert "of the middle finger's bones" in report["notes"][0]


def test_hand_length_of_a_joints_set_is_the_median(joints_set: Path) -> None:
    """One person's bones do not change from image to image; whatever is picked of the set is
    measured with the same length.
    """
    listing = joints_set.with_suffix(".jsonl")
    line = json.loads(listing.read_text())
    lines = [{**line, "joints_mm": (flat_hand() * scale).tolist()} for scale in (0.9, 1.0, 1.3)]
    listing.write_text("".join(json.dumps(one) + "\n" for one in lines))
    one, two, three = (hand for sample in open_dataset(joints_set) for hand in sample.hands)
    assert one.hand_length_m == two.hand_length_m == three.hand_length_m
    (single,) = (hand for sample in open_dataset(joints_set, limit=1) for hand in sample.hands)
    assert single.hand_length_m == two.hand_length_m


def test_counts_but_does_not_score_hands_with_few_measured_joints(joints_set: Path) -> None:
    def answer(rgb: np.ndarray, length: float | None) -> list:
        sparse = rectangle(50, 20, 206, 210, (256, 256))
        sparse[60:200] = False  # only the far joints of the fingers are left
        sparse[209] = True
        return [(sparse, 0.45)]

    report = run(joints_set, KnownAnswer(answer))
    assert report["hands_found"] == 1 and report["hands_measured"] == 0 and report["completeness"] < 0.5
    assert report["hand_length_guessed"] is None


@pytest.fixture
def masks_set(tmp_path: Path) -> Path:
    """Skin is an upright bar 60 wide from y 20 to the lower border; landmarks lie in its upper
    half.
    """
    folder = tmp_path / "masks"
    folder.mkdir()
    skin = rectangle(70, 20, 130, 240, (240, 200))
    cv2.imwrite(str(folder / "x.jpg"), np.zeros((240, 200, 3), np.uint8))
    cv2.imwrite(str(folder / "x.png"), skin.astype(np.uint8) * 255)
    corners = [(70, 20), (129, 20), (129, 119), (70, 119)]
    px = [[*corners[i % 4], 0.0] for i in range(21)]
    line = {"image": "masks/x.jpg", "width": 200, "height": 240, "hands": [{"px": px}]}
    blind = {**line, "image": "masks/no_landmarks.jpg", "hands": []}
    (tmp_path / "masks.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(blind)}\n")
    return folder


def test_measures_mask_iou_near_the_landmarks_only(masks_set: Path) -> None:
    """The forearm is skin but not hand: leaving it out costs nothing beyond the hull's growth of 10
    px.
    """
    exact = run(masks_set, KnownAnswer(lambda rgb, length: [(rectangle(70, 20, 130, 140, (240, 200)), 0.4)]))
    assert exact["mask_iou_in_region"] == 1 and exact["hands_found"] == 1
    assert exact["notes"][0] == "1 images without landmarks left out" and "60 degrees" in exact["notes"][1]
    half = run(masks_set, KnownAnswer(lambda rgb, length: [(rectangle(70, 20, 100, 140, (240, 200)), 0.4)]))
    assert half["mask_iou_in_region"] == pytest.approx(0.5, abs=0.01) and half["hands_found"] == 1
    # the grown hull is about 80 x 120 with round corners, of which 60 x 110 are skin
    assert exact["mask_iou_in_region_if_all_were_hand"] == pytest.approx(6600 / 9514, abs=0.01)
    none = run(masks_set, KnownAnswer(lambda rgb, length: []))
    assert none["mask_iou_in_region"] == 0 and none["hands_found"] == 0


def test_counts_false_hands_on_backgrounds(tmp_path: Path) -> None:
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full((48, 64, 3), 60 * i, np.uint8))
    one = rectangle(0, 0, 9, 9)
    two = rectangle(20, 20, 30, 30)
    estimator = KnownAnswer(lambda rgb, length: [(one, 0.4), (two, 0.4)] if rgb[0, 0, 0] > 170 else [])
    report = run(tmp_path, estimator, out=tmp_path / "out")
    assert report["kind"] == "backgrounds" and report["hands_found"] is None
    assert any("no annotation found" in note for note in report["notes"])
    assert report["images_with_false_hand"] == 0.25 and report["false_hands_per_image"] == 0.5
    assert run(tmp_path, estimator, limit=2)["images"] == 2


def test_reads_all_images_of_a_set_without_splits(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "cameras.jsonl").read_text().splitlines()[:2]]
    del lines[0]["split"], lines[1]["split"]
    (folder / "cameras.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = open_dataset(folder, split="val")
    assert len(data) == 2 and data.notes == ("the set has no splits: all of its images",)
    lines[0]["split"] = "train"  # one that has splits, none of them val
    (folder / "cameras.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DatasetError, match="--split one of train, all"):
        open_dataset(folder)


def test_rejects_broken_data_sets_with_the_reason(folder: Path, joints_set: Path, tmp_path: Path) -> None:
    def rejected(path: Path, names: str, **options: Any) -> None:
        with pytest.raises(DatasetError, match=names):
            for _ in open_dataset(path, **options):
                pass

    rejected(tmp_path / "nowhere", "does not exist")
    (tmp_path / "empty").mkdir()
    rejected(tmp_path / "empty", "no data set known here")
    rejected(folder, "missing.png cannot be read", split="train")
    rejected(
        folder,
        r"split 'test', it has train \(1 image\), val \(2 images\): give --split one of val, train, all",
        split="test",
    )
    (folder / "depth" / "a.png").write_bytes(b"not an image")
    rejected(folder, r"a.png \(12 bytes\) is not an image.*: copy or unpack it again, or take it out")
    cv2.imwrite(str(folder / "depth" / "a.png"), np.zeros((48, 64), np.uint8))
    rejected(folder, "16-bit")
    lines = (folder / "cameras.jsonl").read_text()
    (folder / "cameras.jsonl").write_text(lines.replace('"fx": 60', '"fx": 0'))
    rejected(folder, "fx is 0")
    (folder / "cameras.jsonl").write_text(lines.replace('"width": 64', '"width": 65'))
    rejected(folder, "its line says 65x48")
    (folder / "cameras.jsonl").write_text(lines.replace('"cy": 24', '"c": 24'))
    rejected(folder, "no 'cy'")
    (folder / "cameras.jsonl").write_text('{"image"')
    rejected(folder, "line 1 is not JSON")
    (folder / "cameras.jsonl").write_text('["rgb/a.png"]')
    rejected(folder, "line 1 is no JSON object")
    (folder / "cameras.jsonl").write_text('{"image": 7}')
    rejected(folder, "line 1: image is 7")
    (folder / "cameras.jsonl").write_text('{"image": "rgb/a.png", "hands": 5}')
    rejected(folder, "line 1: hands is no list")
    (folder / "dataset.json").write_text("[]")
    (folder / "cameras.jsonl").write_text(lines)
    rejected(folder, "dataset.json is no JSON object")
    (folder / "dataset.json").unlink()
    (folder / "cameras.jsonl").write_text("")
    rejected(folder, "list is empty")
    joints_set.with_suffix(".jsonl").write_text('{"image": "joints/0.png"}\n')
    rejected(joints_set, "neither joints_mm nor hands")
