"""Print a data set's report for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from hand_depth_ros.evaluation.report import ERRORS, PUBLISHED_MM
from hand_depth_ros.evaluation.scores import MIN_JOINTS, MIN_OVERLAP, MIN_PIXELS_WITH_ARM

_ROWS = (  # text, key of the report, decimals (None: a percentage)
    ("hands found", "hands_found", None),
    ("hands in truth", "hands", 0),
    ("hands whose depth was measured", "hands_measured", 0),
    ("other hands per image", "other_hands_per_image", 3),
    ("images with a hand too many", "images_with_invented_hand", None),
    ("images without a hand where one was found", "images_with_false_hand", None),
    ("mask IoU", "mask_iou", 3),
    ("part of our masks inside the true ones", "mask_precision", None),
    ("mask IoU inside the grown landmark hull", "mask_iou_in_region", 3),
    ("the same, if all of it were called hand", "mask_iou_in_region_if_all_were_hand", 3),
    ("pixels (joints) of found hands that got depth", "completeness", None),
    ("constant depth at all pixels (joints), mm", "constant_depth_everywhere_mm", 1),
    ("predicted over true median depth, median", "median_depth_ratio", 3),
    ("scatter of predicted over true median depth", "scatter", None),
    ("hands whose depth is off by a third or more", "gross_errors", None),
    ("mean absolute after one common scale, mm", "common_scale_mae_mm", 1),
    ("within 1 sigma (Gauss: 68 %)", "within_1_sigma", None),
    ("within 2 sigma (Gauss: 95 %)", "within_2_sigma", None),
    ("within 1 sigma, length known", "within_1_sigma_known", None),
    ("within 2 sigma, length known", "within_2_sigma_known", None),
    ("hand length, mean error", "hand_length_error", None),
    ("hand length, mean absolute error", "hand_length_abs_error", None),
    ("median time per image, ms", "median_ms_per_image", 1),
)


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the tables of a report and what its words mean."""
    console.print(
        f"[bold]{report['dataset']}[/bold] ({report['kind']}): {report['images']} images", highlight=False
    )
    for note in report["notes"]:
        console.print(f"  {note}", highlight=False)
    half = report["half_visible"]
    for numbers, of in ((report, "hands"), (half, "hands that are at least half visible")):
        if numbers and (numbers["hand_length_guessed"] or numbers["hand_length_known"]):
            console.print(_error_table(numbers, of))
    table = Table("what", "value", *(["of hands at least half visible"] if half else []))
    for name, key, digits in _ROWS:
        if report[key] is not None:
            cells = [report[key], *([half.get(key)] if half else [])]
            table.add_row(name, *(_shown(cell, digits) for cell in cells))
    console.print(table)
    if report["poses"]:
        console.print(_pose_table(report["poses"]))
    console.print(_explanation(report), highlight=False)


def _explanation(report: dict[str, Any]) -> str:
    """Return what the words of the tables mean."""
    joints = f"Joints: PIP and DIP, 6 mm to the surface, hands with {MIN_JOINTS} or more. "
    arm = f"Masks with arms: {MIN_PIXELS_WITH_ARM} pixels, half of them inside. "
    return (
        f"Found: IoU >= {MIN_OVERLAP}. Shape: median-aligned error. Constant depth: each hand at its own true median. "
        "Scatter: standard deviation over hands, over the mean. One common scale: a perfectly known hand length. "
        + joints * (report["kind"] in ("joints", "freihand"))
        + arm * (report["mask_precision"] is not None)
        + f"Published for this method: {PUBLISHED_MM:g} mm, on HandRGBD, not these images."
    )


def _error_table(numbers: dict[str, Any], of: str) -> Table:
    table = Table(f"error, mean over {of}", "length guessed", "length known", "constant depth")
    oracle = {"mae_mm": numbers["constant_depth_mm"], "shape_mm": numbers["constant_depth_mm"]}
    names = (
        "mean absolute, mm",
        "median absolute, mm",
        "RMSE, mm",
        "shape (median taken off), mm",
        "AbsRel",
    )
    for key, name in zip(ERRORS, names, strict=True):
        decimals = 4 if key == "abs_rel" else 1
        columns = (numbers["hand_length_guessed"] or {}, numbers["hand_length_known"] or {}, oracle)
        table.add_row(name, *(_shown(column.get(key), decimals) for column in columns))
    return table


def _pose_table(poses: dict[str, Any]) -> Table:
    """Return the table by openness and by direction of the fingers."""
    worst = poses["worst"]
    table = Table(
        "openness",
        "fingers point",
        "hands",
        "found",
        "shape, mm",
        "depth over the set's",
        "mean size of that",
        "one common scale, mm",
        caption=None
        if worst is None
        else f"worst: {worst['openness']}, {worst['direction']}: {100 * worst['ratio_against_set']:+.1f} %",
    )
    for group in poses["groups"]:
        table.add_row(
            group["openness"] or "all",
            group["direction"] or "all",
            str(group["hands"]),
            _shown(group["hands_found"], None),
            _shown(group["shape_mm"], 1),
            "" if group["ratio_against_set"] is None else f"{100 * group['ratio_against_set']:+.1f} %",
            _shown(group["abs_ratio_error"], None),
            _shown(group["common_scale_mae_mm"], 1),
        )
    return table


def _shown(value: float | None, digits: int | None) -> str:
    """Return the value with so many decimals; as a percentage for None."""
    if value is None:
        return ""
    return f"{100 * value:.1f} %" if digits is None else f"{value:.{digits}f}"
