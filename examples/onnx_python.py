"""Predict with a network of `unetkit export` without unetkit or PyTorch: pip install onnxruntime numpy pillow.

python onnx_python.py model.onnx image.png mask.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

if len(sys.argv) != 4:
    sys.exit(__doc__)
model, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}

image = Image.open(source)
if facts["input"] == "uint8":
    if image.mode[0] in "IF":  # Pillow's modes for 16-bit, 32-bit and float images
        sys.exit(f"{source} is not an 8-bit image, but the network was trained on 8-bit images")
    image = image.convert({1: "L", 3: "RGB"}[facts["channels"]])
pixels = np.asarray(image, facts["input"]).reshape(1, image.height, image.width, facts["channels"])
images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
probabilities = session.run(None, {"images": images})[0][0]  # (1 or N, H, W)

above = probabilities > facts["threshold"]
if facts.get("is_multilabel"):  # label k as bit k
    mask = sum(above[k].astype(np.uint8) << k for k in range(len(above)))
else:
    mask = probabilities.argmax(0) if len(probabilities) > 1 else 255 * above[0]
if np.count_nonzero(mask) < facts["min_area"]:
    mask = np.zeros_like(mask)
Image.fromarray(mask.astype(np.uint8)).save(target)
print(f"wrote {target}, mean probability {probabilities[-1].mean():.4f}")
