"""The learning curves of a run that was interrupted are those of one that was not."""

from pathlib import Path

import cv2
import numpy as np

from unetkit.plots.curves import draw_curves


def test_an_interrupted_run_is_drawn_as_one(tmp_path: Path) -> None:
    header, rates = "epoch,lr-AdamW,train/loss_epoch,val/iou\n", ",0.003,,\n"
    epochs = [f"{epoch},,{1 / (epoch + 1)},{epoch / 10}\n" for epoch in range(6)]
    (tmp_path / "whole.csv").write_text(header + rates + "".join(epochs))
    (tmp_path / "first.csv").write_text(header + "".join(epochs[:3]) + "3,,9.0,0.9\n")  # lost: no checkpoint of it
    (tmp_path / "second.csv").write_text(header + rates + "".join(epochs[3:]))
    draw_curves([tmp_path / "whole.csv"], tmp_path / "whole.png")
    draw_curves([tmp_path / "first.csv", tmp_path / "second.csv"], tmp_path / "parts.png")
    whole, parts = cv2.imread(str(tmp_path / "whole.png")), cv2.imread(str(tmp_path / "parts.png"))
    assert whole is not None
    assert parts is not None
    assert np.array_equal(whole, parts)
